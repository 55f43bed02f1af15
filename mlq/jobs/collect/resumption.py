"""Resumption: reads the rows that an output already has, repairs its last line, and sorts it at the end."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from mlq.ipc.private_files import replacement
from mlq.jobs.errors import NotResumable

MISSING: Final = 0
OK: Final = 1
FAILED: Final = 2

_BLOCK: Final = 2**20


@dataclass
class Held:
    """The rows that have a line in an output."""

    rows: bytearray = field(default_factory=bytearray)
    """MISSING, OK or FAILED for each row."""

    in_order: bool = True
    """Whether the lines are those of rows 0, 1, 2 …"""

    @property
    def ok(self) -> int:
        """Rows that were answered."""
        return self.rows.count(OK)

    @property
    def failed(self) -> int:
        """Rows that failed."""
        return self.rows.count(FAILED)

    def add(self, index: int, *, ok: bool) -> bool:
        """Add a line; return whether it is the first of its row."""
        if index >= len(self.rows):
            self.in_order = self.in_order and index == len(self.rows)
            self.rows.extend(bytes(index + 1 - len(self.rows)))
        else:
            self.in_order = False
        was, self.rows[index] = self.rows[index], OK if ok else FAILED
        return was == MISSING

    def is_ok(self, index: int) -> bool:
        """Return whether a row was answered."""
        return index < len(self.rows) and self.rows[index] == OK

    def has(self, index: int) -> bool:
        """Return whether a row has a line."""
        return index < len(self.rows) and self.rows[index] != MISSING


def scan(path: Path) -> Held:
    """Read an output, and remove its last line if that is incomplete. Raises NotResumable if it is no output."""
    held, ends_at = Held(), 0
    if not path.exists():
        return held
    with path.open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                break
            index, ok = _line(path, line)
            held.add(index, ok=ok)
            ends_at += len(line)
    os.truncate(path, ends_at)
    return held


def put_in_order(path: Path, rows: int) -> None:
    """Keep the last line of each row, in the order of the input. A new file is written and renamed."""
    places = array("q", bytes(8 * rows))
    at = 0
    with path.open("rb") as stream:
        for line in stream:
            places[_line(path, line)[0]] = at + 1
            at += len(line)
        with replacement(path, keep_mode=True) as target:
            target.writelines(_picked(stream, places))


def _picked(stream: BinaryIO, places: array[int]) -> Iterator[bytes]:
    for place in places:
        if place:
            if stream.tell() != place - 1:
                stream.seek(place - 1)
            yield stream.readline()


def _line(path: Path, line: bytes) -> tuple[int, bool]:
    try:
        found = orjson.loads(line)
        index, status = found["index"], found["status"]
        if isinstance(index, int) and index >= 0:
            return index, status == "ok"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    raise NotResumable(path=path, reason="a line of it is none of mlq's")
