"""Detaching: a supervisor that outlives the command which started it, once that has seen its workers ready."""

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
"""Names, in the supervisor's environment, the pipe on which it says how its workers started."""

_LOOK_EVERY_S: Final = 0.2


class Announcer:
    """In the supervisor: says once how each worker started, with a word a line: `ready` or `failed`, and its name."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self._awaited: set[str] = set()

    @classmethod
    def inherited(cls) -> Announcer | None:
        """Take the pipe over; None in a supervisor that nobody waits for. Workers must not inherit it."""
        fd = os.environ.pop(VARIABLE, None)
        if fd is None:
            return None
        os.set_inheritable(int(fd), False)  # noqa: FBT003 (its only argument)
        return cls(int(fd))

    def __call__(self, news: News) -> None:
        """Listen to the fleet's news, until every worker has started or failed to."""
        match news:
            case Planned(slots):
                self._awaited = set(slots)
            case BecameReady(slot):
                self._say("ready", slot)
            case GaveUp(slot):
                self._say("failed", slot)

    def _say(self, word: str, slot: str) -> None:
        if self._fd is None or slot not in self._awaited:
            return
        self._awaited.discard(slot)
        with suppress(OSError):  # who waited has gone
            os.write(self._fd, f"{word} {slot}\n".encode())
        if not self._awaited:
            os.close(self._fd)
            self._fd = None


class Detached:
    """In the command: the supervisor that it started, in a session of its own, its words in a log file."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._fd, writing = os.pipe()
        with open_state(log, "ab") as out:
            self._log: IO[bytes] = open_state(log, "rb")
            self._log.seek(0, os.SEEK_END)  # now: what comes from here on is this supervisor's
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
        """Yield what the supervisor says, until each worker has started or failed, or it has ended."""
        said = b""
        rest = b""
        while True:
            ready, _, _ = select.select([self._fd], [], [], _LOOK_EVERY_S)
            chunk = os.read(self._fd, 4096) if ready else b""
            said += chunk
            *lines, rest = (rest + self._log.read()).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
            if ready and not chunk:
                break
        words = [line.split(" ", 1) for line in said.decode().splitlines()]
        self._started = [(word, slot) for word, slot in words]

    @property
    def failed(self) -> list[str]:
        """Workers that were given up."""
        return [slot for word, slot in self._started if word == "failed"]

    @property
    def workers(self) -> int:
        """How many workers have started or failed to."""
        return len(self._started)

    def ended(self) -> int | None:
        """Give the exit code of a supervisor that had nothing left to run; None for one that runs."""
        if len(self.failed) < self.workers:
            return self._process.poll()
        return self._process.wait()  # it wrote its last word, or none: its end is a moment away

    def stop(self) -> None:
        """Let it drain: whoever waited has changed their mind."""
        self._process.terminate()
