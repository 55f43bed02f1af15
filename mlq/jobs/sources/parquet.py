"""Parquet: an object a row, read one row group's part at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mlq.jobs.errors import MissingExtra, NotReadable

_ROWS: Final = 1024


def values(path: Path) -> Iterator[Any]:
    """Give the rows. Raises MissingExtra without pyarrow, NotReadable for what is no Parquet."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingExtra(what="reading Parquet", extra="parquet") from None
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS):
                yield from batch.to_pylist()
    except ArrowException as exc:
        raise NotReadable(path=path, kind="Parquet", reason=str(exc).splitlines()[0]) from None
