"""Parquet: each row is an object, read in portions of a row group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mlq.jobs.errors import MissingExtra, NotReadable
from mlq.jobs.input.columns import Unfit, decode
from mlq.jobs.row import RowError, Unreadable

_ROWS: Final = 1024

_EXHAUSTED: Final = (RecursionError, MemoryError)
"""Raised for a schema that is nested hundreds of levels deep, and for pages that claim to be larger than memory."""


def values(path: Path, shown: str) -> Iterator[Any]:
    """Yield the rows; one with a value that JSON cannot hold is an Unreadable.

    Raises MissingExtra without pyarrow, NotReadable for a file that is not Parquet, is truncated, or is encrypted.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingExtra(what="reading Parquet", extra="parquet") from None
    # pyarrow raises its own exceptions, and Python's where an array is made into Python's objects.
    foreign = (
        ArrowException,
        OSError,
        ValueError,
        TypeError,
        OverflowError,
        NotImplementedError,
        KeyError,
        *_EXHAUSTED,
    )
    try:
        file = ParquetFile(path)
    except foreign as exc:
        raise _not_readable(shown, exc) from None
    with file:
        try:
            names = file.schema_arrow.names
            _demand_different(names, shown)
            batches = file.iter_batches(_ROWS)
        except foreign as exc:
            raise _not_readable(shown, exc) from None
        while True:
            try:
                batch = next(batches, None)
                rows = [] if batch is None else _rows(names, batch)
            except foreign as exc:
                raise _not_readable(shown, exc) from None
            if batch is None:
                return
            yield from rows


def _rows(names: list[str], batch: Any) -> list[Any]:
    if not names:
        return [{} for _ in range(batch.num_rows)]
    columns = [decode(column) for column in batch.columns]
    rows = zip(*(found for found, _ in columns), strict=True)
    if not any(is_unfit for _, is_unfit in columns):
        return [dict(zip(names, row, strict=True)) for row in rows]
    return [_row(names, row) for row in rows]


def _row(names: list[str], row: tuple[Any, ...]) -> Any:
    for name, value in zip(names, row, strict=True):
        if isinstance(value, Unfit):
            return Unreadable(RowError("ValueError", f"column {name!r}: {value.reason}"))
    return dict(zip(names, row, strict=True))


def _demand_different(names: list[str], shown: str) -> None:
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise NotReadable(path=shown, kind="Parquet", reason=f"{names.count(twice)} columns are named {twice!r}")


def _not_readable(shown: str, exc: BaseException) -> NotReadable:
    lines = str(exc).splitlines()
    return NotReadable(path=shown, kind="Parquet", reason=lines[0] if lines else type(exc).__name__)
