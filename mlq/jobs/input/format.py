"""Format: how a file holds its rows, recognized by its name or its content."""

from __future__ import annotations

from enum import Enum
from pathlib import PurePath
from typing import Final

import orjson

from mlq.jobs.errors import NotReadable
from mlq.jobs.input.lines import is_row
from mlq.jobs.input.stream import Stream
from mlq.jobs.row import LARGEST_BYTES


class InputFormat(str, Enum):
    """The values of --format."""

    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    FILES = "files"


TABLES: Final = frozenset({InputFormat.CSV, InputFormat.TSV})
TEXTS: Final = frozenset({InputFormat.JSONL, InputFormat.JSON, *TABLES})

_BY_SUFFIX: Final = {
    ".jsonl": InputFormat.JSONL,
    ".ndjson": InputFormat.JSONL,
    ".csv": InputFormat.CSV,
    ".tsv": InputFormat.TSV,
    ".parquet": InputFormat.PARQUET,
}
_PARQUET: Final = (b"PAR1", b"PARE")
_FOREIGN: Final = {
    b"PK\x03\x04": "a zip archive (or a spreadsheet)",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"\xfd7zXZ": "packed with xz",
    b"\x04\x22\x4d\x18": "packed with lz4",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"ARROW1\0\0": "an Arrow file",
    b"Obj\x01": "an Avro file",
    b"\x89HDF": "an HDF5 file",
    **{b"BZh%d1AY&" % level: "packed with bzip2" for level in range(1, 10)},
}
_HEAD: Final = 2**16


def by_name(name: str) -> InputFormat | None:
    """Return the format of a suffix, in upper or lower case; None for other suffixes."""
    return _BY_SUFFIX.get(PurePath(name.lower().removesuffix(".gz")).suffix)


def demand_text(head: bytes, shown: str) -> None:
    """Check the first bytes of a text file. Raises NotReadable, which names the kind of file if it is not text."""
    for magic, kind in _FOREIGN.items():
        if head.startswith(magic):
            raise NotReadable(path=shown, kind="rows", reason=f"it is {kind}")


def is_parquet(head: bytes) -> bool:
    """Return True for the first bytes of a Parquet file, encrypted or not."""
    return head.startswith(_PARQUET)


def sniff(stream: Stream) -> InputFormat:
    """Guess the format of text from its first lines."""
    first, is_more = _first_lines(stream)
    if _is_value(first):
        return InputFormat.JSONL if is_more else InputFormat.JSON
    if first.lstrip()[:1] in (b"[", b"{", b""):
        return InputFormat.JSON
    if b"\t" in first:
        return InputFormat.TSV
    return InputFormat.CSV if any(mark in first for mark in (b",", b";", b"|")) else InputFormat.JSON


def _first_lines(stream: Stream) -> tuple[bytes, bool]:
    """Return the first line that is not blank, and whether another follows."""
    size = _HEAD
    while True:
        head = stream.peek(size)
        lines = [line for line in head.split(b"\n") if is_row(line)]
        if len(lines) > 1 or len(head) < size or size > LARGEST_BYTES:
            return (lines or [b""])[0], len(lines) > 1
        size *= 4


def _is_value(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True
