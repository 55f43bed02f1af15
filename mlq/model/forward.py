"""Forwards: rows go through a model, as many at once as fit, and a bad row fails alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mlq.model.accelerator import Trouble, release_memory, trouble
from mlq.model.cap import BatchCap
from mlq.model.failure import DeviceLost, ModelError, OutOfMemory, RowFailure, contained


class Kinds(Protocol):
    """Exceptions that are no fault of the rows, and are raised to the caller."""

    transient: tuple[type[Exception], ...]
    interrupts: tuple[type[Exception], ...]


Call = Callable[[Sequence[Any]], list[Any]]
"""One forward: takes rows, returns as many answers, with an Exception in the slot of a failed row."""


class Forward:
    """Runs rows through a model, in as many forwards as needed.

    A forward that raises is halved until the rows at fault are alone (one bad row of 64 costs 13 forwards). A forward
    that runs out of memory is halved, too, and lowers the cap. A transient exception is no fault of the rows; it is
    raised to the caller, which retries all rows later. An exception that interrupts is raised, too. Any other exception
    fails rows, even if it does not derive from Exception, except an order to end this process.
    """

    def __init__(self, call: Call, cap: BatchCap, kinds: Kinds) -> None:
        self._call = call
        self._cap = cap
        self._kinds = kinds

    def run(self, rows: Sequence[Any]) -> list[Any]:
        """Answer each row, in order. Raises only DeviceLost, and exceptions that are transient or interrupt."""
        found: list[Any] = []
        while len(found) < len(rows):
            found += self._settle(rows[len(found) : len(found) + self._cap.rows])
        return found

    def failure(self, error: Exception) -> RowFailure:
        """Return the failure of one row. Raises DeviceLost: a class that catches all exceptions hides it in a slot."""
        found = trouble(error)
        if found is Trouble.LOST:
            raise DeviceLost.told_by(error) from error
        return RowFailure(error, retryable=found is Trouble.MEMORY or isinstance(error, self._kinds.transient))

    def _settle(self, rows: Sequence[Any]) -> list[Any]:
        outcome = self._attempt(rows)
        if isinstance(outcome, list):
            self._cap.fitted(len(rows))
            return [self.failure(slot) if isinstance(slot, Exception) else slot for slot in outcome]
        if isinstance(outcome, OutOfMemory):
            release_memory()
            self._cap.shrink(len(rows))
            if len(rows) > 1:
                return self.run(rows)
        if isinstance(outcome, ModelError) or len(rows) == 1:
            return [self.failure(outcome)] * len(rows)
        middle = len(rows) // 2
        return self._settle(rows[:middle]) + self._settle(rows[middle:])

    def _attempt(self, rows: Sequence[Any]) -> list[Any] | Exception:
        """Call once, and return an exception: handling it in the except block would keep tensors alive."""
        try:
            return self._call(rows)
        except BaseException as raised:
            error = contained(raised)
            found = trouble(error)
            if found is Trouble.LOST:
                raise DeviceLost.told_by(error) from error
            if found is Trouble.MEMORY:
                return OutOfMemory(str(error))
            if isinstance(error, (*self._kinds.transient, *self._kinds.interrupts)):
                raise
            return error
