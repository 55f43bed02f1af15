"""Chunk: the rows of one message; and the feed that reads the chunks of an input.

Rows are held by column, because an object for each of millions of rows would take longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from mlq.jobs.input.source import Source
from mlq.jobs.row import MISSING, Naming, RowError, Unreadable, identify
from mlq.protocol import json_text, packing
from mlq.store.jobs.record import Kind

MOST_ROWS: Final = 1024
"""Rows in a chunk."""

LARGEST_BYTES: Final = 2**20
"""Bytes of a chunk's inputs as JSON. A larger row makes a chunk of its own."""

_SPECIAL: Final = frozenset({dict, Unreadable})
"""Types of values that may not be the input of a row as they are."""

_MOST_URGENT: Final = 9


@dataclass
class Chunk:
    """The rows of one message. The place of a row is its position in the chunk."""

    number: int
    """Number of the chunk in its job, from 0."""

    indexes: Sequence[int]
    """Index of each row in the input, from 0."""

    ids: Sequence[Any]
    """Id of each row in the output."""

    errors: Mapping[int, RowError] = field(default_factory=dict)
    """Errors of rows that are not sent, by place."""

    inputs: list[Any] = field(default_factory=list)
    """Inputs of the rows that are sent; emptied once the message holds them."""

    def __len__(self) -> int:
        return len(self.indexes)

    @property
    def sent(self) -> int:
        """The number of rows that the task receives."""
        return len(self.indexes) - len(self.errors)

    def encode(self) -> bytes:
        """Write the record of the chunk for its collector: everything but the inputs."""
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
    """Read a record that `Chunk.encode` wrote. Raises ValueError for anything else.

    Other clients of Redis can write the record, and its numbers decide how many lines the collector writes. So a chunk
    has no more rows than a message can carry.
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
    """Make a chunk of the decoded values of an input."""
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
    """Return the chunk with `errors`, by place, instead of the rows that were to be sent."""
    kept = [given for place, given in placed(chunk) if place not in errors]
    return Chunk(chunk.number, chunk.indexes, chunk.ids, {**chunk.errors, **errors}, kept)


def placed(chunk: Chunk) -> Iterator[tuple[int, Any]]:
    """Yield the place and the input of each row that is sent."""
    left = iter(chunk.inputs)
    for place in range(len(chunk)):
        if place not in chunk.errors:
            yield place, next(left)


class ChunkFeed:
    """Reads the chunks of an input in order, without the rows that need not be sent.

    Args:
        source: The input, at its beginning.
        kind: The kind of the job.
        naming: Gives the rows their ids.
        number: Number of the first chunk.
        settled: A byte for each of the first rows of the input; a row whose byte is not 0 is not sent.
        queue_error: Returns the error of a row that names an unknown queue.
    """

    def __init__(
        self,
        source: Source,
        kind: Kind,
        naming: Naming,
        *,
        number: int,
        settled: bytes,
        queue_error: Callable[[str], RowError | None] = lambda _: None,
    ) -> None:
        self._queue_error = queue_error
        self._source = source
        self._kind = kind
        self._naming = naming
        self._settled = settled
        self._number = number
        self.taken = source.skip(_leading(settled))

    def next(self, rows: int) -> Chunk | None:
        """Return the next chunk, of at most `rows` rows; None at the end. Raises NotJson if the rest is malformed."""
        if self._kind != "rows":
            rows = 1
        while values := self._source.take(rows, LARGEST_BYTES):
            first = self.taken
            self.taken += len(values)
            indexes: Sequence[int] = range(first, self.taken)
            if first < len(self._settled):
                indexes = [i for i in indexes if i >= len(self._settled) or not self._settled[i]]
                values = [values[i - first] for i in indexes]
            if indexes:
                chunk = self._checked(chunk_of(self._number, indexes, values, self._naming))
                self._number += 1
                return chunk
        return None

    def _checked(self, chunk: Chunk) -> Chunk:
        if self._kind != "tasks":
            return chunk
        errors = {place: error for place, given in placed(chunk) if (error := self._error(given)) is not None}
        return refuse(chunk, errors) if errors else chunk

    def _error(self, given: Any) -> RowError | None:
        """Return the error of a row that is not a task, or whose queue is unknown; None if it can be sent."""
        error = _task_error(given)
        return self._queue_error(given["queue"]) if error is None and given.get("queue") else error


def _leading(settled: bytes) -> int:
    """Count the settled rows before the first that is not settled."""
    first = settled.find(0)
    return len(settled) if first < 0 else first


def _task_error(given: Any) -> RowError | None:
    """Return the error of a row that is not a task; None if it is one."""
    if not isinstance(given, dict) or not isinstance(given.get("task"), str):
        return RowError("ValueError", 'a task is an object with a "task": the name of one')
    if not isinstance(given.get("args", []), list) or not isinstance(given.get("kwargs", {}), dict):
        return RowError("ValueError", "args is a list, kwargs an object")
    if not isinstance(given.get("queue", ""), str):
        return RowError("ValueError", "queue is the name of one")
    priority = given.get("priority", 0)
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= _MOST_URGENT:
        return RowError("ValueError", "priority is a whole number from 0 to 9")
    return None
