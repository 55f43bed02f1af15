"""CSV and TSV: an object a row, its keys from the header, its values as numbers where JSON would write them so."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import orjson

from mlq.jobs.errors import NotReadable
from mlq.jobs.row import RowError, Unreadable
from mlq.jobs.sources.format import BOM

_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?\Z")
"""007 is none, so it stays the text that it is."""


def values(stream: BinaryIO, delimiter: str, name: str) -> Iterator[Any]:
    """Give a row for each record; one that has not as many fields as the header, or breaks, is an Unreadable.

    Raises NotReadable where the header is none.
    """
    reader = csv.reader(_text(stream), delimiter=delimiter)
    records = _records(reader)
    header = next(records, None)
    if header is None:
        return
    if isinstance(header, csv.Error):
        raise NotReadable(path=name, kind="CSV", reason=header)
    for record in records:
        if not record:
            continue
        if isinstance(record, csv.Error):
            yield Unreadable(RowError("BadRecord", f"line {reader.line_num}: {record}"))
        elif len(record) != len(header):
            about = f"line {reader.line_num}: {len(record)} fields, the header has {len(header)}"
            yield Unreadable(RowError("FieldCount", about))
        else:
            yield dict(zip(header, map(_value, record), strict=True))


def copied(stream: BinaryIO, delimiter: str, wanted: Iterator[int]) -> Iterator[bytes]:
    """Give the header and the wanted records (indexes, ascending) as they are written in a file."""
    records = _records(csv.reader(_text(stream), delimiter=delimiter))
    header = next(records, [])
    yield _written(header, delimiter) if isinstance(header, list) else b""
    index, next_wanted = 0, next(wanted, None)
    for record in records:
        if not record:
            continue
        if index == next_wanted and isinstance(record, list):
            yield _written(record, delimiter)
            next_wanted = next(wanted, None)
        index += 1


def _records(reader: Iterator[list[str]]) -> Iterator[list[str] | csv.Error]:
    """Give the records, and for one that breaks what is wrong with it: the reader goes on behind it."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            yield exc


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
    """Read a field. What is no number that JSON can hold (1e999, an id of 25 digits) stays the text that it is."""
    if not text:
        return None
    if not _NUMBER.match(text):
        return text
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return text if isinstance(value, float) and text.lstrip("-").isdigit() else value
