"""Chunk feed: yields the chunks of an input in order, without the rows that need not be sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from mlq.jobs.chunk import LARGEST_BYTES, Chunk, chunk_of, placed, refuse
from mlq.jobs.input.source import Source
from mlq.jobs.row import RowError
from mlq.jobs.row_ids import Naming
from mlq.store.jobs.record import Kind

_MOST_URGENT: Final = 9


class Feeder:
    """Reads a source from its beginning.

    `number` is that of the next chunk; `settled` has a byte for each row that may be known, not 0 if it is not to be
    sent. `naming` gives the rows their ids, `misplaced` the error of a row whose queue is not known.
    """

    def __init__(
        self,
        source: Source,
        kind: Kind,
        naming: Naming,
        *,
        number: int,
        settled: bytes,
        misplaced: Callable[[str], RowError | None] = lambda _: None,
    ) -> None:
        self._misplaced = misplaced
        self._source = source
        self._kind = kind
        self._naming = naming
        self._settled = settled
        self._number = number
        self.taken = source.skip(_leading(settled))

    def next(self, rows: int) -> Chunk | None:
        """Give the next chunk, of so many rows at most; None at the end. Raises NotJson where the rest is broken."""
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
        errors = {place: why for place, given in placed(chunk) if (why := self._misfit(given)) is not None}
        return refuse(chunk, errors) if errors else chunk

    def _misfit(self, given: Any) -> RowError | None:
        """Return the error of a row that is not a task, or whose queue is invalid; None if it can be sent."""
        error = _misfit(given)
        return self._misplaced(given["queue"]) if error is None and given.get("queue") else error


def _leading(settled: bytes) -> int:
    """Count the settled rows before the first that is not."""
    first = settled.find(0)
    return len(settled) if first < 0 else first


def _misfit(given: Any) -> RowError | None:
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
