"""Keeping: a command in the foreground whose workers go on when it ends.

It is two processes from its start. The one in front hears the terminal; the one behind it, in a session of its own,
has the workers, which die with whoever started them. The first Ctrl-C tells it to let them go on: it goes on as their
supervisor, its words go to a log file, and the command ends.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from mlq.ipc import parent_death
from mlq.ipc.private_files import open_private

_KEEP: Final = signal.SIGUSR1
"""SIGHUP, which would say the same, ends a fleet whose terminal has gone."""

_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Behind:
    """The process that has the workers, as it sees itself."""

    def __init__(self, fd: int, log: Path) -> None:
        self._fd: int | None = fd
        self._log = log
        self._asked = False
        signal.signal(_KEEP, self._ask)

    def when_asked(self, keep: Callable[[], None]) -> None:
        """Call `keep` when the process in front is told to end, or has died; at once if that was before."""
        signal.signal(_KEEP, lambda *_: keep())
        if self._asked:
            keep()

    def _ask(self, *_: object) -> None:
        self._asked = True

    def let_go(self, workers: int) -> None:
        """Tell the process in front that so many workers go on without it; from now on speak into the log."""
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
    """Return in a new process behind this one, which waits for it and never returns.

    It exits with the other's code, or with 0 when that goes on with its workers; then `said` is told how many, and
    the process id. Call it while there is one thread.
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
    """Pass the first wish to end on as a wish to keep the workers; those after it as what they are."""
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
        raise SystemExit(0)
    _, ended = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(ended)
    raise SystemExit(code if code >= 0 else 128 - code)
