"""Supervisors in the background: started there by a command, or left there by a command that ends.

With `--detach`, a command starts a supervisor in the background, waits for its workers to be ready, and ends.

`mlq autoscale` runs in the foreground, and its workers may go on when it ends. It is two processes from its start,
because workers die with the process that started them. The foreground process receives the signals of the terminal.
The background process, in a session of its own, is the supervisor of the workers. At the first Ctrl-C the foreground
process ends, and the background process goes on: from then on it writes to a log file.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO, Final, NoReturn

from mlq.exit_codes import SIGNALLED, ExitCode
from mlq.ipc import parent_death, python_command
from mlq.ipc.private_files import open_private, open_state
from mlq.supervisor.news import BecameReady, GaveUp, News, Planned

VARIABLE: Final = "MLQ_DETACHED_FD"
"""Environment variable of the supervisor: the descriptor of the pipe on which it reports how its workers started."""

_LOOK_EVERY_S: Final = 0.2

_KEEP: Final = signal.SIGUSR1
"""Asks the background process to keep the workers. SIGHUP is not free for this: it ends a fleet without a terminal."""

_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Announcer:
    """The supervisor's end of the pipe. It writes one line per worker: `ready` or `failed`, and the worker's name."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self._awaited: set[str] = set()

    @classmethod
    def inherited(cls) -> Announcer | None:
        """Return the announcer of this supervisor, or None if no command waits for it. Workers must not inherit it."""
        fd = os.environ.pop(VARIABLE, None)
        if fd is None:
            return None
        os.set_inheritable(int(fd), False)  # noqa: FBT003 (its only argument)
        return cls(int(fd))

    def __call__(self, news: News) -> None:
        """Report the news that the command waits for, until every worker has started or failed to start."""
        match news:
            case Planned(slots):
                self._awaited = set(slots)
            case BecameReady(slot):
                self._report("ready", slot)
            case GaveUp(slot):
                self._report("failed", slot)

    def _report(self, word: str, slot: str) -> None:
        if self._fd is None or slot not in self._awaited:
            return
        self._awaited.discard(slot)
        with suppress(OSError):  # the waiting command has ended
            os.write(self._fd, f"{word} {slot}\n".encode())
        if not self._awaited:
            os.close(self._fd)
            self._fd = None


class Detached:
    """A supervisor that this command started, in a session of its own; its output goes to a log file."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._fd, writing = os.pipe()
        with open_state(log, "ab") as out:
            self._log: IO[bytes] = open_state(log, "rb")
            self._log.seek(0, os.SEEK_END)  # before the start: everything after this position is this supervisor's
            self._process = subprocess.Popen(
                [*python_command.python("mlq"), *argv],
                env={**environment, VARIABLE: str(writing)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=[writing],
                start_new_session=True,
            )
        os.close(writing)
        self._started: list[tuple[str, str]] = []

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    def talk(self) -> Iterator[str]:
        """Yield the supervisor's output lines until each worker has started or failed, or the supervisor has ended."""
        reported = b""
        rest = b""
        while True:
            ready, _, _ = select.select([self._fd], [], [], _LOOK_EVERY_S)
            chunk = os.read(self._fd, 4096) if ready else b""
            reported += chunk
            *lines, rest = (rest + self._log.read()).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
            if ready and not chunk:
                break
        words = [line.split(" ", 1) for line in reported.decode().splitlines()]
        self._started = [(word, slot) for word, slot in words]

    @property
    def failed(self) -> list[str]:
        """The workers that were given up."""
        return [slot for word, slot in self._started if word == "failed"]

    @property
    def workers(self) -> int:
        """How many workers have started or failed to start."""
        return len(self._started)

    def ended(self) -> int | None:
        """Return the exit code of a supervisor that has ended; None while it runs.

        If every worker has failed, the supervisor is about to end: wait for it.
        """
        if len(self.failed) < self.workers:
            return self._process.poll()
        return self._process.wait()

    def stop(self) -> None:
        """Ask the supervisor to drain."""
        self._process.terminate()


class BackgroundProcess:
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


def fork(log: Path, said: Callable[[int, int], None]) -> BackgroundProcess:
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
    background = BackgroundProcess(writing, log)
    parent_death.tie(front, _KEEP)
    return background


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
