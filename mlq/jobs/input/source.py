"""Source: the rows of an input, in portions that fit into a message."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol

from mlq.errors import MlqError
from mlq.jobs.errors import InputBroken
from mlq.jobs.row import LARGEST_BYTES, RowError, Unreadable, too_large
from mlq.protocol import json_text


class Source(Protocol):
    """The rows of a job's input, in order."""

    def take(self, rows: int, size: int) -> list[Any]:
        """Return the next rows, decoded; an empty list at the end.

        At least one row, at most `rows`, and of several at most `size` bytes as JSON. A row that cannot be read is an
        Unreadable. Raises MlqError if the rest cannot be read.
        """

    def skip(self, rows: int) -> int:
        """Skip up to `rows` rows, without decoding them if possible; return how many were skipped."""


class Peeked:
    """A source of which the first rows were read ahead."""

    def __init__(self, first: list[Any], rest: Source) -> None:
        self._first = first
        self._rest = rest

    def take(self, rows: int, size: int) -> list[Any]:
        """Return rows as Source says."""
        if not self._first:
            return self._rest.take(rows, size)
        values, self._first = self._first[:rows], self._first[rows:]
        return values

    def skip(self, rows: int) -> int:
        """Skip rows as Source says."""
        left, self._first = self._first[:rows], self._first[rows:]
        return len(left) + self._rest.skip(rows - len(left))


class Once:
    """A source that can be read only once. If it breaks off, the error says how many rows were read before."""

    def __init__(self, source: Source, taken: int, command: str) -> None:
        self._source = source
        self._taken = taken
        self._command = command

    def take(self, rows: int, size: int) -> list[Any]:
        """Return rows as Source says. Raises InputBroken."""
        try:
            values = self._source.take(rows, size)
        except MlqError as exc:
            raise InputBroken(reason=exc.message, rows=self._taken, command=self._command) from None
        self._taken += len(values)
        return values

    def skip(self, rows: int) -> int:
        """Skip rows as Source says."""
        return self._source.skip(rows)


class Values:
    """A source over any iterator of decoded values."""

    def __init__(self, values: Iterator[Any]) -> None:
        self._values = values
        self._kept: list[tuple[Any, int]] = []

    def take(self, rows: int, size: int) -> list[Any]:
        """Return rows as Source says."""
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
        """Skip rows as Source says."""
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
    """Return the bytes of an input as JSON; for a list of numbers an estimate, because encoding it takes longer.

    Raises TypeError for a value that JSON cannot hold.
    """
    if isinstance(value, list) and value and isinstance(value[0], (int, float)):
        return 20 * len(value)
    return len(json_text.dumps_strict(value))
