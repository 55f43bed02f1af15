"""Output: one JSON line a row, in input order, written as it grows."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import orjson

from mlq.errors import NoSuchFile, OutputExists, OutputIsInput
from mlq.jobs.collection import Answered


class Output:
    """Writes chunks in order: one that comes early waits for those before it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._early: dict[int, Answered] = {}
        self._next = 0
        self.ok = 0
        self.failed = 0

    @property
    def done(self) -> int:
        """Rows that have their line, written or waiting to be."""
        return self.ok + self.failed

    def add(self, answered: Answered) -> None:
        """Take a chunk, and write all that is in order now."""
        self.failed += sum(1 for line in answered.lines if line["status"] == "error")
        self.ok += sum(1 for line in answered.lines if line["status"] == "ok")
        self._early[answered.chunk.index] = answered
        while self._next in self._early:
            for line in self._early.pop(self._next).lines:
                self._stream.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            self._next += 1
        self._stream.flush()


def create(path: Path, source: Path | None = None) -> BinaryIO:
    """Open a new output file.

    Raises OutputIsInput, OutputExists, NoSuchFile where its directory is missing or closed to us.
    """
    if source is not None and path.resolve() == source.resolve():
        raise OutputIsInput(path=path)
    try:
        return path.open("xb")
    except FileExistsError:
        raise OutputExists(path=path) from None
    except OSError as exc:
        raise NoSuchFile(
            path=f"{path} ({exc.strerror})", mend="name an output file in a directory that exists"
        ) from None
