"""Kept workers: a command in the foreground whose workers go on when it ends.

The command is two processes from its start, because workers die with the process that started them. The foreground
process receives the signals of the terminal. The background process, in a session of its own, is the supervisor of the
workers. At the first Ctrl-C the foreground process ends, and the background process goes on: from then on it writes to
a log file.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from mlq.exit_codes import SIGNALLED, ExitCode
from mlq.ipc import parent_death
from mlq.ipc.private_files import open_private

_KEEP: Final = signal.SIGUSR1
"""Asks the background process to keep the workers. SIGHUP is not free for this: it ends a fleet without a terminal."""

_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Behind:
    """The background process: the supervisor of the workers."""

    def __init__(self, fd: int, log: Path) -> None:
        self._fd: int | None = fd
        self._log = log
        self._asked = False
        signal.signal(_KEEP, self._ask)

    def when_asked(self, keep: Callable[[], None]) -> None:
        """Call `keep` when the foreground process was asked to end, or has died; at once if that has happened."""
        signal.signal(_KEEP, lambda *_: keep())
        if self._asked:
            keep()

    def _ask(self, *_: object) -> None:
        self._asked = True

    def let_go(self, workers: int) -> None:
        """Report to the foreground process how many workers go on without it, and write to the log from now on."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        if workers:
            os.write(fd, b"%d" % workers)
        sys.stdout.flush()
        sys.stderr.flush()
        with open_private(self._log, "ab") as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
        os.close(fd)


def split(log: Path, said: Callable[[int, int], None]) -> Behind:
    """Fork: return in the background process; the foreground process waits for it and never returns.

    The foreground process exits with the code of the background process, or with 0 if that goes on with its workers.
    Call this while the process has a single thread.

    Args:
        log: The log file of the background process once it is alone.
        said: Called in the foreground process with the number of workers that go on, and their supervisor's pid.
    """
    reading, writing = os.pipe()
    front = os.getpid()
    pid = os.fork()
    if pid:
        os.close(writing)
        _wait(pid, reading, said)
    os.close(reading)
    os.setsid()
    behind = Behind(writing, log)
    parent_death.tie(front, _KEEP)
    return behind


def _wait(pid: int, fd: int, said: Callable[[int, int], None]) -> NoReturn:
    """Wait for the background process. The first signal asks it to keep the workers; later ones are passed on."""
    asked = 0

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        os.kill(pid, _KEEP if asked == 1 else number)

    for number in _ENDS:
        signal.signal(number, ask)
    workers = int(os.read(fd, 64) or 0)
    if workers:
        said(workers, pid)
        raise SystemExit(ExitCode.DONE)
    _, ended = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(ended)
    raise SystemExit(code if code >= 0 else SIGNALLED - code)
