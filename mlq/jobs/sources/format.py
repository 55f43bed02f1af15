"""Format: how rows are written in a file, told by what is in it."""

from __future__ import annotations

from enum import Enum
from pathlib import PurePath
from typing import BinaryIO, Final

import orjson

from mlq.jobs.row import LARGEST_BYTES
from mlq.jobs.sources.lines import is_row


class Format(str, Enum):
    """What --format takes."""

    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    FILES = "files"


GZIP: Final = b"\x1f\x8b"
BOM: Final = b"\xef\xbb\xbf"
_PARQUET: Final = b"PAR1"
_BY_SUFFIX: Final = {".jsonl": Format.JSONL, ".ndjson": Format.JSONL, ".csv": Format.CSV, ".tsv": Format.TSV}


def sniff(stream: BinaryIO, name: str) -> Format:
    """Tell the format of a file, unpacked already, from its name where that says it, else from its first lines."""
    suffixes = PurePath(name.removesuffix(".gz")).suffixes
    if suffixes and suffixes[-1] in _BY_SUFFIX:
        return _BY_SUFFIX[suffixes[-1]]
    first = _first_line(stream)
    if first.startswith(_PARQUET):
        return Format.PARQUET
    if _is_value(first):
        return Format.JSONL if _first_line(stream) else Format.JSON
    if first.lstrip()[:1] in (b"[", b"{", b""):
        return Format.JSON
    return Format.TSV if b"\t" in first else Format.CSV if b"," in first else Format.JSON


def _first_line(stream: BinaryIO) -> bytes:
    line = stream.readline(LARGEST_BYTES)
    while line and not is_row(line):
        line = stream.readline(LARGEST_BYTES)
    return line.removeprefix(BOM)


def _is_value(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True
