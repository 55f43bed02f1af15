"""Chunk: rows that travel in one message, column by column: there may be millions, and an object each takes longer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from mlq.jobs.row import RowError, Unreadable
from mlq.jobs.row_ids import MISSING, Naming, identify
from mlq.protocol import json_text, packing

MOST_ROWS: Final = 1024
LARGEST_BYTES: Final = 2**20
"""Of the inputs, as JSON. A row that alone is larger travels alone."""

_SPECIAL: Final = frozenset({dict, Unreadable})
"""Types of values that may not be a row's input as they are."""


@dataclass
class Chunk:
    """Rows of one message. `indexes` count from 0 in the file; `ids` are what the output lines carry.

    `errors` maps places to rows that are not sent; `inputs` are the others', and gone once they are.
    """

    number: int
    indexes: Sequence[int]
    ids: Sequence[Any]
    errors: Mapping[int, RowError] = field(default_factory=dict)
    inputs: list[Any] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.indexes)

    @property
    def sent(self) -> int:
        """How many rows the task receives."""
        return len(self.indexes) - len(self.errors)

    def encode(self) -> bytes:
        """Write what a collector has to know: everything but the inputs."""
        first, count = self.indexes[0], len(self.indexes)
        whole = isinstance(self.indexes, range)
        return json_text.dumps_strict(
            {
                "rows": [first, count] if whole else list(self.indexes),
                "whole": whole,
                "ids": None if self.ids is self.indexes else list(self.ids),
                "errors": {str(place): asdict(error) for place, error in self.errors.items()},
            }
        )


def decode(number: int, record: bytes) -> Chunk:
    """Read what `Chunk.encode` wrote. Raises ValueError for anything else.

    The record is in Redis, and its numbers decide how many lines the collector writes: a chunk has no more rows than a
    message may bring.
    """
    try:
        found = json_text.loads_strict(record)
        rows, ids = found["rows"], found["ids"]
        indexes: Sequence[int] = range(rows[0], rows[0] + rows[1]) if found["whole"] else list(rows)
        errors = {int(place): RowError(**error) for place, error in found["errors"].items()}
        sizes = {len(indexes), len(indexes) if ids is None else len(ids)}
    except (KeyError, TypeError, IndexError, OverflowError, AttributeError) as exc:
        message = f"it is not the record of a chunk ({type(exc).__name__})"
        raise ValueError(message) from None
    if len(sizes) > 1 or not 1 <= len(indexes) <= packing.MOST_ROWS or not isinstance(ids, list | None):
        message = "its rows and ids do not fit each other"
        raise ValueError(message)
    if not all(type(i) is int and i >= 0 for i in indexes) or not errors.keys() <= set(range(len(indexes))):
        message = "its rows and errors do not fit each other"
        raise ValueError(message)
    return Chunk(number, indexes, indexes if ids is None else ids, errors)


def chunk_of(number: int, indexes: Sequence[int], values: list[Any], naming: Naming | None = None) -> Chunk:
    """Make a chunk of decoded values."""
    naming = naming or Naming()
    if naming.field is None and _SPECIAL.isdisjoint(map(type, values)):
        return Chunk(number, indexes, naming.all_made_up(indexes), {}, values)
    ids, inputs, errors = list[Any](), list[Any](), dict[int, RowError]()
    for place, (index, value) in enumerate(zip(indexes, values, strict=True)):
        if isinstance(value, Unreadable):
            ids.append(naming.made_up(index, is_plain=False))
            errors[place] = value.error
            continue
        try:
            found, given = identify(value, naming.field)
        except ValueError as exc:
            ids.append(naming.made_up(index, is_plain=False))
            errors[place] = RowError("ValueError", str(exc))
            continue
        if found is MISSING:
            row_id, error = naming.made_up(index, is_plain=True), None
        else:
            row_id, error = naming.own(found, index)
        ids.append(row_id)
        if error is None:
            inputs.append(given)
        else:
            errors[place] = error
    return Chunk(number, indexes, indexes if ids == list(indexes) else ids, errors, inputs)


def refuse(chunk: Chunk, errors: Mapping[int, RowError]) -> Chunk:
    """Put errors in the places of rows that were to be sent."""
    kept = [given for place, given in placed(chunk) if place not in errors]
    return Chunk(chunk.number, chunk.indexes, chunk.ids, {**chunk.errors, **errors}, kept)


def placed(chunk: Chunk) -> Iterator[tuple[int, Any]]:
    """Give the place of every input."""
    left = iter(chunk.inputs)
    for place in range(len(chunk)):
        if place not in chunk.errors:
            yield place, next(left)
