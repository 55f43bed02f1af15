"""Source: rows one after another, as many at a time as fit into a message."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol

from mlq.errors import MlqError
from mlq.jobs.errors import InputBroken
from mlq.jobs.row import LARGEST_BYTES, RowError, Unreadable, too_large
from mlq.protocol import json_text


class Source(Protocol):
    """What a job reads."""

    def take(self, rows: int, size: int) -> list[Any]:
        """Give the next rows, decoded: at least one, no more than `rows` or, as JSON, `size` bytes. None at the end.

        A row that cannot be read is an Unreadable. Raises MlqError where the rest cannot be read.
        """

    def skip(self, rows: int) -> int:
        """Leave out so many rows, without decoding them where that can be helped; tell how many there were."""


class Peeked:
    """A source whose first rows were looked at."""

    def __init__(self, first: list[Any], rest: Source) -> None:
        self._first = first
        self._rest = rest

    def take(self, rows: int, size: int) -> list[Any]:
        """See Source."""
        if not self._first:
            return self._rest.take(rows, size)
        values, self._first = self._first[:rows], self._first[rows:]
        return values

    def skip(self, rows: int) -> int:
        """See Source."""
        left, self._first = self._first[:rows], self._first[rows:]
        return len(left) + self._rest.skip(rows - len(left))


class Once:
    """A source that can be read only once, of which rows were sent already: what breaks it says how many."""

    def __init__(self, source: Source, taken: int, command: str) -> None:
        self._source = source
        self._taken = taken
        self._command = command

    def take(self, rows: int, size: int) -> list[Any]:
        """See Source. Raises InputBroken."""
        try:
            values = self._source.take(rows, size)
        except MlqError as exc:
            raise InputBroken(reason=exc.message, rows=self._taken, command=self._command) from None
        self._taken += len(values)
        return values

    def skip(self, rows: int) -> int:
        """See Source."""
        return self._source.skip(rows)


class Values:
    """A source over any iterator of decoded values."""

    def __init__(self, values: Iterator[Any]) -> None:
        self._values = values
        self._kept: list[tuple[Any, int]] = []

    def take(self, rows: int, size: int) -> list[Any]:
        """See Source."""
        taken, filled = list[Any](), 0
        while len(taken) < rows:
            value, weight = self._kept.pop() if self._kept else self._next()
            if value is _END:
                break
            if taken and filled + weight > size:
                self._kept.append((value, weight))
                break
            taken.append(value)
            filled += weight
        return taken

    def skip(self, rows: int) -> int:
        """See Source."""
        return sum(1 for _ in islice(self._values, rows))

    def _next(self) -> tuple[Any, int]:
        value = next(self._values, _END)
        if value is _END or isinstance(value, Unreadable):
            return value, 0
        try:
            weight = weigh(value)
        except TypeError as exc:
            return Unreadable(RowError("TypeError", str(exc))), 0
        return (value, weight) if weight <= LARGEST_BYTES else (too_large("a row", weight), 0)


_END: Any = object()


def weigh(value: Any) -> int:
    """Estimate the bytes of an input as JSON; exactly, where it is not a list of numbers, whose digits are few.

    Raises TypeError for what JSON cannot hold.
    """
    if isinstance(value, list) and value and isinstance(value[0], (int, float)):
        return 20 * len(value)
    return len(json_text.dumps_strict(value))
