"""How rows go through a model: as many at once as fit, and a bad row fails alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mlq.model.accelerator import Trouble, release_memory, trouble
from mlq.model.cap import BatchCap
from mlq.model.failure import DeviceLost, ModelError, OutOfMemory, RowFailure, contained


class Kinds(Protocol):
    """Exceptions that say nothing about the rows of a forward, and go to the caller."""

    transient: tuple[type[Exception], ...]
    interrupts: tuple[type[Exception], ...]


Call = Callable[[Sequence[Any]], list[Any]]
"""One forward: rows in, as many answers out, with an Exception in the slot of a row that failed."""


class Forward:
    """One forward after another, whatever each of them raises.

    A forward that raises is halved until the rows at fault stand alone (one bad row of 64: 13 forwards).
    Without memory it is halved too, and the cap remembers. A transient exception says nothing about the
    rows and goes to the caller, who tries all of them again later; so does one that interrupts. Everything else fails
    rows, also what does not derive from Exception; only an order to end this process passes.
    """

    def __init__(self, call: Call, cap: BatchCap, kinds: Kinds) -> None:
        self._call = call
        self._cap = cap
        self._kinds = kinds

    def run(self, rows: Sequence[Any]) -> list[Any]:
        """Answer every row, in order. Raises DeviceLost, what is transient and what interrupts, nothing else."""
        found: list[Any] = []
        while len(found) < len(rows):
            found += self._settle(rows[len(found) : len(found) + self._cap.rows])
        return found

    def failure(self, error: Exception) -> RowFailure:
        """Judge what failed one row. Raises DeviceLost: a class that catches every exception hides that too."""
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
        """Call once. What failed is returned, not handled in the except block, which would keep tensors alive."""
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
