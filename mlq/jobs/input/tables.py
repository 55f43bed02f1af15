"""CSV and TSV: each row is an object with keys from the header; a value that is a number in JSON is a number."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import orjson

from mlq.jobs.errors import NotReadable, NotText
from mlq.jobs.input import delimiters
from mlq.jobs.input.encodings import not_utf8
from mlq.jobs.input.stream import Stream
from mlq.jobs.row import LARGEST_BYTES, RowError, Unreadable

_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?\Z", re.ASCII)
"""007 does not match, so it stays a text."""

_BLOCK: Final = 2**20
_SAMPLE: Final = 2**16


class Table:
    """The records of a table, and its header, which names the fields. A malformed record is a csv.Error instead.

    Raises NotReadable for an invalid header, UnclearDelimiter, NotText.
    """

    def __init__(self, stream: Stream, delimiter: str | None, shown: str) -> None:
        csv.field_size_limit(2 * LARGEST_BYTES)  # never reached: _Feed stops earlier, with a clearer error
        self._lines = _Lines(stream, shown)
        first = self._first_line()
        said = delimiters.declared(first)
        if said is not None:
            delimiter = delimiters.demand_same(shown, said, delimiter)
            first = self._first_line()
        self.delimiter = delimiter or delimiters.guess([first, *self._lines.sample[self.line :]], shown)
        self._feed = _Feed(self._lines, first)
        # strict: otherwise a quote that is not closed would extend to the end of the file without an error.
        self._reader = csv.reader(self._feed, delimiter=self.delimiter, strict=True)
        header = next(iter(self), [])
        if isinstance(header, csv.Error):
            raise NotReadable(path=shown, kind="a table", reason=self.explain(header))
        twice = [name for name, times in Counter(header).items() if times > 1]
        if twice:
            what = f"are named {twice[0]!r}" if twice[0] else "have no name"
            raise NotReadable(path=shown, kind="a table", reason=f"{Counter(header)[twice[0]]} columns {what}")
        self.header = header

    @property
    def line(self) -> int:
        """The number of the last line that was read."""
        return self._lines.number

    def __iter__(self) -> Iterator[list[str] | csv.Error]:
        """Yield the records, without blank lines. The reader continues after a malformed record."""
        while True:
            self._feed.begin_record()
            try:
                record = next(self._reader)
            except StopIteration:
                return
            except csv.Error as exc:
                yield exc
            else:
                if record:
                    yield record

    def explain(self, error: csv.Error) -> str:
        """Describe the error of the last record and its line: of several lines, the one in which its quote opens."""
        opened = self._feed.quote_line
        if opened is None or opened == self.line:
            return f"line {self.line}: {error}"
        if isinstance(error, _TooLong):
            return f"line {opened}: {error}; lines {opened} to {self.line} are one row that cannot be read"
        return f"line {opened}: the quote that opens here has no proper end (line {self.line}: {error})"

    def _first_line(self) -> str:
        """Return the next line that is not blank, and "" at the end."""
        return next((line for line in self._lines if line.strip("\r\n")), "")


def values(stream: Stream, delimiter: str | None, shown: str) -> Iterator[Any]:
    """Yield a row for each record; one that is malformed, or has another number of fields, is an Unreadable.

    Raises what Table raises.
    """
    table = Table(stream, delimiter, shown)
    fields = len(table.header)
    for record in table:
        if isinstance(record, csv.Error):
            yield Unreadable(RowError("BadRecord", table.explain(record)))
        elif len(record) != fields:
            about = f"line {table.line}: {len(record)} fields, the header has {fields}"
            yield Unreadable(RowError("FieldCount", about))
        else:
            yield dict(zip(table.header, map(_value, record), strict=True))


def copied(stream: Stream, delimiter: str | None, shown: str, wanted: Iterator[int]) -> Iterator[bytes]:
    """Yield the header and the records with the wanted indexes, which ascend, as lines of a file."""
    table = Table(stream, delimiter, shown)
    yield _written(table.header, table.delimiter)
    next_wanted = next(wanted, None)
    for index, record in enumerate(table):
        if index == next_wanted:
            next_wanted = next(wanted, None)
            if isinstance(record, list):
                yield _written(record, table.delimiter)


class _TooLong(csv.Error):
    """A record is longer than a row may be."""


class _Feed:
    """Hands lines to the csv module, and bounds the size of a record.

    The module bounds fields, not records: after a quote that is not closed, a record may extend to the end of the file,
    and if each line is `","`, every field stays short. This is a class because a generator ends when it raises, but the
    reader continues after a malformed record.

    Attributes:
        quote_line: The line in which the open quote began; None while the record has one line.
    """

    def __init__(self, lines: _Lines, first: str) -> None:
        self._lines = lines
        self._rest = iter(lines)
        self._first = first
        self._size = 0
        self._is_open = False
        self.quote_line: int | None = None

    def begin_record(self) -> None:
        """Expect the first line of the next record."""
        self._size, self._is_open, self.quote_line = 0, False, None

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line, self._first = self._first or next(self._rest), ""
        if self._size > LARGEST_BYTES:
            raise _TooLong(f"the quote that opens here is not closed within {LARGEST_BYTES:,} characters")
        self._size += len(line)
        if line.count('"') % 2:
            self._is_open = not self._is_open
            if self._is_open:
                self.quote_line = self._lines.number
        return line


class _Lines:
    """The lines of a table as text, with their ends, as the csv module expects them.

    Lines end in \\n or \\r\\n, or all in \\r as in old spreadsheets; a \\r between \\n is part of a line.

    Attributes:
        number: Number of the last line that was read.
        sample: The first whole lines, whether they were read or not.
    """

    def __init__(self, stream: Stream, shown: str) -> None:
        self._stream = stream
        self._shown = shown
        head = stream.peek(_SAMPLE)
        self._end = b"\r" if b"\r" in head and b"\n" not in head else b"\n"
        whole = head.split(self._end)[: None if len(head) < _SAMPLE else -1]
        self.sample = [line.decode("utf-8", "replace") for line in whole]
        self._blocks = self._split()
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        """Yield the lines. Raises NotText, NotReadable for a line that is longer than a row may be."""
        for line in self._blocks:
            self.number += 1
            try:
                yield line.decode()
            except UnicodeDecodeError:
                raise NotText(path=self._shown, line=self.number, where=not_utf8(line)) from None

    def _split(self) -> Iterator[bytes]:
        tail = b""
        while block := self._stream.read(_BLOCK):
            *lines, tail = (tail + block).split(self._end)
            if len(tail) > LARGEST_BYTES:
                reason = f"line {self.number + len(lines) + 1} has more than {LARGEST_BYTES:,} bytes"
                raise NotReadable(path=self._shown, kind="a table", reason=reason)
            for line in lines:
                yield line + self._end
        if tail:
            yield tail


def _written(record: list[str], delimiter: str) -> bytes:
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(record)
    return line.getvalue().encode()


def _value(text: str) -> Any:
    """Decode a field. A number that JSON cannot hold exactly (1e999, an id of 25 digits) stays a text."""
    if not text:
        return None
    if not _NUMBER.match(text):
        return text
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return text if isinstance(value, float) and text.lstrip("-").isdigit() else value
