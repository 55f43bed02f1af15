"""Chunk: rows that travel in one message, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from mlq.jobs import row
from mlq.jobs.row import Row, RowError
from mlq.wire import ROW_ERROR

ROWS: Final = 128
"""Rows in a chunk, unless --chunk says otherwise."""

LARGEST_BYTES: Final = 2**20
"""Of the inputs, as JSON. A row that alone is larger travels alone."""


@dataclass(frozen=True)
class Chunk:
    """Rows of one message. Error rows keep their place in it but are not sent."""

    index: int
    rows: tuple[Row, ...]

    @property
    def inputs(self) -> list[Any]:
        """What the task receives."""
        return [r.input for r in self.rows if r.error is None]

    @property
    def unanswerable(self) -> bool:
        """Whether there is nothing in it to send."""
        return all(r.error is not None for r in self.rows)


def pack(rows: Iterable[Row], limit: int = ROWS) -> Iterator[Chunk]:
    """Fill chunks up to `limit` rows and LARGEST_BYTES."""
    index, filled, size = 0, list[Row](), 0
    for found in rows:
        weight = _weight(found.input)
        if filled and (len(filled) == limit or size + weight > LARGEST_BYTES):
            yield Chunk(index, tuple(filled))
            index, filled, size = index + 1, [], 0
        filled.append(found)
        size += weight
    if filled:
        yield Chunk(index, tuple(filled))


def _weight(value: Any) -> int:
    """Estimate the bytes of an input as JSON; exactly, where it is not a list of numbers, whose digits are few."""
    if isinstance(value, list) and value and isinstance(value[0], (int, float)):
        return 20 * len(value)
    return len(orjson.dumps(value))


def lines(chunk: Chunk, answers: Sequence[Any]) -> list[dict[str, Any]]:
    """Make the output lines of a chunk from what the task answered, an element for each row sent.

    An answer of the wrong length is an error of every row, which names both lengths.
    """
    sent = len(chunk.inputs)
    if len(answers) != sent:
        return failures(chunk, RowError("BadAnswer", f"the worker answered {len(answers)} rows to {sent}"))
    left = iter(answers)
    return [row.failed(r, r.error) if r.error else _line(r, next(left)) for r in chunk.rows]


def failures(chunk: Chunk, error: RowError) -> list[dict[str, Any]]:
    """Make the output lines of a chunk whose task failed as a whole."""
    return [row.failed(r, r.error or error) for r in chunk.rows]


def _line(found: Row, answer: Any) -> dict[str, Any]:
    if isinstance(answer, dict) and answer.keys() == {ROW_ERROR}:
        said = answer[ROW_ERROR]
        return row.failed(found, RowError(said["type"], said["message"], said["retryable"], said["attempts"]))
    return row.answered(found, answer)
