"""Output: one JSON line a row, written as it grows, by one process at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mlq.errors import MlqError, NoSuchFile
from mlq.jobs.answering import Written
from mlq.jobs.errors import OutputBusy, OutputExists, OutputIsInput


class Output:
    """Lines into a stream. `ok` and `failed` count rows, those of an earlier process included."""

    def __init__(self, stream: BinaryIO, ok: int = 0, failed: int = 0) -> None:
        self._stream = stream
        self.ok = ok
        self.failed = failed

    @property
    def done(self) -> int:
        """Rows that have their line."""
        return self.ok + self.failed

    def add(self, written: Written) -> None:
        """Write the lines of a chunk."""
        self._stream.write(written.lines)
        self.ok += written.ok
        self.failed += len(written.failed)

    def flush(self) -> None:
        """Give all of it to the system, where it outlives this process."""
        self._stream.flush()


def demand_new(path: Path, source: Path | None, or_else: type[MlqError] = OutputExists) -> None:
    """Check that an output may be made. Raises OutputIsInput, `or_else`, NoSuchFile for its directory."""
    demand_apart(path, source)
    if path.exists():
        raise or_else(path=path)
    if not path.absolute().parent.is_dir():
        raise NoSuchFile(path=path.parent, mend="name an output file in a directory that exists")


def demand_apart(path: Path, source: Path | None) -> None:
    """Check that the output is not the input. Raises OutputIsInput."""
    if source is not None and path.resolve() == source.resolve():
        raise OutputIsInput(path=path)


@contextmanager
def appended(path: Path, locked: Callable[[], None]) -> Iterator[BinaryIO]:
    """Open an output to write at its end, while nobody else does; `locked` is called once that is sure.

    Raises OutputBusy, NoSuchFile where its directory is missing or closed to us.
    """
    try:
        stream = path.open("ab")
    except OSError as exc:
        mend = "name an output file in a directory that exists"
        raise NoSuchFile(path=f"{path} ({exc.strerror})", mend=mend) from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputBusy(path=path) from None
        locked()
        yield stream
