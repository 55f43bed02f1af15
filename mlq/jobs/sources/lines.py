"""JSON Lines: a value a line; a line that is none is one row's error."""

from __future__ import annotations

from typing import Any, BinaryIO, Final

import orjson

from mlq.jobs.row import LARGEST_BYTES, malformed, too_large

_BLOCK: Final = 2**20
_CUT: Final = b"\0"
"""Stands for a line that was too long to keep; no JSON begins like it."""


class Lines:
    """A source over JSON Lines. Reads a block at a time, and never keeps a line that is too long."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._at = 0
        self._number = 1
        self._tail = b""
        self._ended = False

    def take(self, rows: int, size: int) -> list[Any]:
        """See Source."""
        values = list[Any]()
        while not values and self._fill():
            first, lines = self._pick(rows, size)
            try:
                values = [orjson.loads(line) for line in lines]
            except orjson.JSONDecodeError:
                values = [decode(n, line) for n, line in enumerate(lines, first) if is_row(line)]
        return values

    def take_raw(self, rows: int) -> list[bytes]:
        """Give the next rows' lines, as they are."""
        found: list[bytes] = []
        while not found and self._fill():
            found = [line for line in self._pick(rows, LARGEST_BYTES)[1] if is_row(line)]
        return found

    def skip(self, rows: int) -> int:
        """See Source."""
        left = rows
        while left and (found := self.take_raw(left)):
            left -= len(found)
        return rows - left

    def _pick(self, rows: int, size: int) -> tuple[int, list[bytes]]:
        """Take lines, blank ones included, and the number of the first."""
        lines = self._lines[self._at : self._at + rows]
        if sum(map(len, lines)) > size:
            lines = _fitting(lines, size)
        first = self._number
        self._at += len(lines)
        self._number += len(lines)
        return first, lines

    def _fill(self) -> bool:
        """Make sure that a line is there; False at the end."""
        while self._at == len(self._lines):
            if self._ended:
                return False
            block = self._stream.read(_BLOCK)
            self._ended = not block
            lines = (self._tail + block).split(b"\n")
            self._tail = b"" if self._ended else lines.pop()
            if len(self._tail) > LARGEST_BYTES:
                self._tail = _CUT
            if self._ended and not lines[-1]:
                lines.pop()
            self._lines, self._at = lines, 0
        return True


def is_row(line: bytes) -> bool:
    """Tell a row from a blank line."""
    return bool(line) and not line.isspace()


def decode(number: int, line: bytes) -> Any:
    """Read a line by itself; one that is no JSON is an Unreadable that names it."""
    if line.startswith(_CUT) or len(line) > LARGEST_BYTES:
        return too_large(f"line {number}", LARGEST_BYTES)
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        return malformed(number, exc.msg)


def _fitting(lines: list[bytes], size: int) -> list[bytes]:
    """Cut off what does not fit, but for the first."""
    filled = 0
    for place, line in enumerate(lines):
        filled += len(line)
        if filled > size:
            return lines[:place] if place else [lines[0] if len(lines[0]) <= LARGEST_BYTES else _CUT]
    return lines
