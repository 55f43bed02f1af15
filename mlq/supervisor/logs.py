"""Log files of workers in the state directory. Their size is bounded, and a failure to write them never stops work."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from mlq.errors import StateDirectoryUnusable
from mlq.ipc.private_files import open_private, private_directory
from mlq.security.escaping import escaped_line
from mlq.store.workers import log_tails
from mlq.supervisor.news import News, in_words

if TYPE_CHECKING:
    from redis import Redis

    from mlq.supervisor.view import FleetView


LARGEST_BYTES: Final = 10 * 2**20
"""A file of this size is renamed to NAME.log.1, which replaces the previous one."""

_CHUNK: Final = 64 * 1024
_LOOK_EVERY_S: Final = 0.25


def directory(state: Path) -> Path:
    """Return the directory of the log files."""
    return state / "logs"


def file_of(state: Path, slot: str) -> Path:
    """Return the log file of a worker."""
    return directory(state) / f"{slot}.log"


class LogFiles:
    """Writes the news of each worker to its log file.

    While the disk is full lines are lost. `lost` is called once each time that this begins, with the reason.
    """

    def __init__(self, state: Path, lost: Callable[[Exception], None], largest: int = LARGEST_BYTES) -> None:
        self._state = state
        self._lost = lost
        self._largest = largest
        self._failed = False

    def __call__(self, news: News) -> None:
        """Write one piece of news; news about all workers belongs to no file."""
        slot, text = in_words(news)
        if slot is None:
            return
        stamp = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            self._append(file_of(self._state, slot), f"{stamp} {escaped_line(text)}\n".encode())
            self._failed = False
        except (OSError, StateDirectoryUnusable) as exc:
            if not self._failed:
                self._lost(exc)
            self._failed = True

    def _append(self, path: Path, line: bytes) -> None:
        private_directory(path.parent)
        # Opened for each line: no line is lost if this process dies, and the file may be moved away at any time.
        with open_private(path, "ab") as file:
            if file.tell() + len(line) > self._largest:
                path.replace(path.with_suffix(".log.1"))
                self._append(path, line)
                return
            file.write(line)


def last_lines(path: Path, number: int) -> list[str]:
    """Return the last lines of a log, including lines of NAME.log.1 if the newer file is short.

    Raises FileNotFoundError.
    """
    newer = _tail(path, number)
    older = path.with_suffix(".log.1")
    if len(newer) < number and older.exists():
        newer = _tail(older, number - len(newer)) + newer
    return newer


def _tail(path: Path, number: int) -> list[str]:
    with open_private(path, "rb") as file:
        end = file.seek(0, 2)
        kept = b""
        while end and kept.count(b"\n") <= number:
            begin = max(0, end - _CHUNK)
            file.seek(begin)
            kept = file.read(end - begin) + kept
            end = begin
    return [line.decode(errors="replace") for line in deque(kept.splitlines(), number)]


def follow(path: Path, wait: Callable[[float], None] = time.sleep) -> Generator[str, None, None]:
    """Yield the lines that are appended from now on, also after the file is replaced, until the generator is closed."""
    from_end = True
    while True:
        with open_private(path, "rb") as file:
            file.seek(0, os.SEEK_END if from_end else os.SEEK_SET)
            yield from _until_replaced(file, path, wait)
        from_end = False


def _until_replaced(file: IO[bytes], path: Path, wait: Callable[[float], None]) -> Iterator[str]:
    rest = b""
    while True:
        # Checked before reading, so that everything appended before the replacement is read.
        replaced = _is_another(path, file)
        *lines, rest = (rest + file.read()).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)
        if replaced:
            return
        if not lines:
            wait(_LOOK_EVERY_S)


def _is_another(path: Path, file: IO[bytes]) -> bool:
    """Return whether the path names a new file. For a moment during a replacement it names none."""
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


class LogTails:
    """Writes each worker's last lines to the store if they have changed, at every round of heartbeats."""

    def __init__(self, view: Callable[[], FleetView]) -> None:
        self._view = view
        self._written: dict[str, Sequence[str]] = {}

    def __call__(self, store: Redis) -> None:
        """Write the lines that have changed. While the server's memory is full nothing is written."""
        from redis.exceptions import OutOfMemoryError

        workers = [slot.worker for slot in self._view().slots if slot.worker is not None]
        for name, lines in [(worker.spec.name, worker.last_lines) for worker in workers]:
            if lines == self._written.get(name, ()):
                continue
            try:
                log_tails.write(store, socket.gethostname(), name, lines)
            except OutOfMemoryError:
                return
            self._written[name] = lines
