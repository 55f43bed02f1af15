"""Detached supervisors: a command starts one in the background, waits for its workers to be ready, and ends."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from mlq.ipc import python_command
from mlq.ipc.private_files import open_state
from mlq.supervisor.news import BecameReady, GaveUp, News, Planned

VARIABLE: Final = "MLQ_DETACHED_FD"
"""Environment variable of the supervisor: the descriptor of the pipe on which it reports how its workers started."""

_LOOK_EVERY_S: Final = 0.2


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
