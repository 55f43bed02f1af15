"""CSV and TSV: an object a row, its keys from the header, its values as numbers where JSON would write them so."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import orjson

from mlq.jobs.row import RowError, Unreadable
from mlq.jobs.sources.format import BOM

_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?\Z")
"""007 is none, so it stays the text that it is."""


def values(stream: BinaryIO, delimiter: str) -> Iterator[Any]:
    """Give a row for each record; one that has not as many fields as the header is an Unreadable."""
    records = csv.reader(_text(stream), delimiter=delimiter)
    header = next(records, None)
    if header is None:
        return
    for record in records:
        if not record:
            continue
        if len(record) != len(header):
            about = f"line {records.line_num}: {len(record)} fields, the header has {len(header)}"
            yield Unreadable(RowError("FieldCount", about))
        else:
            yield dict(zip(header, map(_value, record), strict=True))


def copied(stream: BinaryIO, delimiter: str, wanted: Iterator[int]) -> Iterator[bytes]:
    """Give the header and the wanted records (indexes, ascending) as they are written in a file."""
    records = csv.reader(_text(stream), delimiter=delimiter)
    yield _written(next(records, []), delimiter)
    index, next_wanted = 0, next(wanted, None)
    for record in records:
        if not record:
            continue
        if index == next_wanted:
            yield _written(record, delimiter)
            next_wanted = next(wanted, None)
        index += 1


def _text(stream: BinaryIO) -> Iterator[str]:
    """Give the lines. Not by a TextIOWrapper, which would close the stream that it was lent."""
    csv.field_size_limit(2**31 - 1)  # Python's own limit of 128 KiB is less than a picture
    first = True
    while line := stream.readline():
        yield (line.removeprefix(BOM) if first else line).decode("utf-8", "replace")
        first = False


def _written(record: list[str], delimiter: str) -> bytes:
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(record)
    return line.getvalue().encode()


def _value(text: str) -> Any:
    if not text:
        return None
    return orjson.loads(text) if _NUMBER.match(text) else text
