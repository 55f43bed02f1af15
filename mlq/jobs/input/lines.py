"""JSON Lines: each line is a row; a line that does not parse is the error of one row."""

from __future__ import annotations

from typing import Any, Final

import orjson

from mlq.jobs.input.encodings import not_utf8
from mlq.jobs.input.stream import Stream
from mlq.jobs.row import LARGEST_BYTES, malformed, too_large
from mlq.protocol import json_text

_BLOCK: Final = 2**17
"""Bytes per read. Lines are decoded while the block is still in the processor's cache."""

_BLANKS: Final = b" \t\r"
"""White space in JSON within a line. A form feed is not, so a line with only a form feed is malformed."""

_CUT: Final = bytes(bytearray(b"(cut)"))
"""Replaces a line that was too long to keep. Compared by identity, because a file may hold the same bytes."""


class JsonLines:
    """The rows of JSON Lines. Reads a block at a time, and does not keep a line that is too long."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._at = 0
        self._number = 1
        self._tail = b""
        self._is_cutting = False
        self._ended = False
        self._may_hold_huge = False

    def take(self, rows: int, size: int) -> list[Any]:
        """Return rows as Source says."""
        values = list[Any]()
        while len(values) < rows and self._fill():
            if values and len(self._lines[self._at]) > size:
                break
            first, lines = self._pick(rows - len(values), size)
            size -= sum(map(len, lines))
            try:
                read = json_text.loads_strict if self._may_hold_huge else orjson.loads
                values += [read(line) for line in lines]
            except orjson.JSONDecodeError:
                values += [decode(n, line) for n, line in enumerate(lines, first) if is_row(line)]
        return values

    def take_raw(self, rows: int) -> list[bytes]:
        """Return the lines of the next rows, unchanged; is_cut() is True for a line that was too long to keep."""
        found: list[bytes] = []
        while not found and self._fill():
            found = [line for line in self._pick(rows, LARGEST_BYTES)[1] if is_row(line)]
        return found

    def skip(self, rows: int) -> int:
        """Skip rows as Source says."""
        left = rows
        while left and (found := self.take_raw(left)):
            left -= len(found)
        return rows - left

    def _pick(self, rows: int, size: int) -> tuple[int, list[bytes]]:
        """Consume lines, blank ones included; return the number of the first, and the lines."""
        lines = self._lines[self._at : self._at + rows]
        if sum(map(len, lines)) > size:
            lines = _fitting(lines, size)
        first = self._number
        self._at += len(lines)
        self._number += len(lines)
        return first, lines

    def _fill(self) -> bool:
        """Read until there is a line; return False at the end."""
        while self._at == len(self._lines):
            if self._ended:
                return False
            block = self._stream.read(_BLOCK)
            self._ended = not block
            text = self._tail + block
            self._may_hold_huge = json_text.may_hold_long_integer(text)
            self._lines, self._at = self._split(text), 0
        return True

    def _split(self, text: bytes) -> list[bytes]:
        """Split text into whole lines; `_tail` keeps the beginning of the next line until the next block."""
        lines = text.split(b"\n")
        self._tail = b"" if self._ended else lines.pop()
        if self._is_cutting and lines:
            lines[0], self._is_cutting = _CUT, False
        if self._is_cutting or len(self._tail) > LARGEST_BYTES:
            self._tail, self._is_cutting = b"", True
        if self._ended and not lines[-1]:
            lines.pop()
        return lines


def is_row(line: bytes) -> bool:
    """Return True for a row, False for a blank line."""
    return bool(line) and bool(line.strip(_BLANKS))


def is_cut(line: bytes) -> bool:
    """Return True for the replacement of a line of more than LARGEST_BYTES."""
    return line is _CUT


def decode(number: int, line: bytes) -> Any:
    """Decode one line; a line that is not JSON is an Unreadable, which names the line."""
    if line is _CUT or len(line) > LARGEST_BYTES:
        return too_large(f"line {number}", LARGEST_BYTES)
    try:
        return json_text.loads_strict(line)
    except orjson.JSONDecodeError as exc:
        return malformed(number, not_utf8(line) or _reason(line, exc))


def _reason(line: bytes, exc: orjson.JSONDecodeError) -> str:
    if b"\0" in line:
        return f"{exc.msg} (NUL bytes: the file was cut off by a crash, or is UTF-16 without a byte-order mark)"
    if b"\r" in line.rstrip(b"\r"):
        return f"{exc.msg} (a carriage return alone ends no line)"
    return exc.msg


def _fitting(lines: list[bytes], size: int) -> list[bytes]:
    """Return the first lines that fit into `size` bytes, at least one."""
    filled = 0
    for place, line in enumerate(lines):
        filled += len(line)
        if filled > size:
            return lines[:place] if place else [lines[0] if len(lines[0]) <= LARGEST_BYTES else _CUT]
    return lines
