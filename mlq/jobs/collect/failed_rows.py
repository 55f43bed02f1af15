"""Failed rows: their inputs in the format of the input file, so that they can be corrected and sent again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from mlq.jobs.input import tables
from mlq.jobs.input.format import InputFormat
from mlq.jobs.input.lines import JsonLines, is_cut
from mlq.jobs.input.sources import Input
from mlq.jobs.row import Unreadable
from mlq.protocol import json_text

_AT_ONCE: Final = 1024
_SIZE: Final = 2**24


def write(path: Path, given: Input, indexes: Sequence[int]) -> None:
    """Write the rows with these indexes, which ascend: lines unchanged, a table with its header, an array as an array.

    Rows of other formats (Parquet, a directory) are written as JSON Lines. Lines that were too long to keep are left
    out.
    """
    if not indexes:
        return
    with path.open("wb") as target:
        if given.is_table:
            with given.stream() as stream:
                target.writelines(tables.copied(stream, given.delimiter, given.shown, iter(indexes)))
        elif given.format is InputFormat.JSON:
            target.write(b"[\n" + b",\n".join(_rows(given, indexes)) + b"\n]\n")
        else:
            target.writelines(row + b"\n" for row in _rows(given, indexes))


def _rows(given: Input, indexes: Sequence[int]) -> Iterator[bytes]:
    wanted, first = frozenset(indexes), 0
    with given.opened() as source:
        while True:
            if isinstance(source, JsonLines):
                rows = source.take_raw(_AT_ONCE)
            else:
                rows = [_written(v) for v in source.take(_AT_ONCE, _SIZE)]
            if not rows:
                return
            yield from (row for index, row in enumerate(rows, first) if index in wanted and not is_cut(row))
            first += len(rows)


def _written(value: Any) -> bytes:
    """Encode a row; if it could not be read, encode its error."""
    return orjson.dumps(value) if isinstance(value, Unreadable) else json_text.dumps_strict(value)
