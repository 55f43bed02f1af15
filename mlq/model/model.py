"""The model: it answers rows, as many at once as fit into the memory of the device, and a bad row fails alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Literal, Protocol

from mlq.model.accelerator import Trouble, release_memory, trouble
from mlq.model.failure import DeviceLost, ModelError, NotFinite, OutOfMemory, RowFailure, contained
from mlq.model.outputs import answers, classify, is_array

Output = Literal["raw", "classify"]


class Predictor(Protocol):
    """A model that is loaded, on its device: the interface that all model formats share."""

    max_batch_size: int
    retry_on: tuple[type[Exception], ...]
    """Exceptions that are transient, according to the author of the model."""

    def examples(self) -> list[Any]:
        """Return rows to warm up with; none if the shape of a row is unknown."""

    def prepare(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Convert rows to the input of `predict`, once for each row; an Exception in a slot fails only that row."""

    def predict(self, prepared: Sequence[Any]) -> Any:
        """Compute one forward: return a tensor, an array, a dict or tuple of them, or a list of one output per row."""

    def close(self) -> None:
        """Release the resources of `setup`."""


class Model:
    """Answers rows with outputs that JSON can represent.

    `transient` are exceptions of `predict` after which all rows may be retried. `interrupts` are exceptions that stop a
    forward, such as a time limit.
    """

    def __init__(self, predictor: Predictor, *, name: str, fingerprint: str, device: str, output: Output) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.device = device
        self.max_batch_size = predictor.max_batch_size
        self.transient: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, *predictor.retry_on)
        self.interrupts: tuple[type[Exception], ...] = ()
        self._predictor = predictor
        self._output = output
        self._forward = Forward(self._compute, BatchCap(self.max_batch_size), self)

    def predict(self, rows: Sequence[Any]) -> list[Any | RowFailure]:
        """Answer each row, in order, with its output or its failure.

        An exception in `interrupts` fails the rows that have no answer yet; answers of earlier forwards are kept.

        Raises:
            Exception: One of `transient`; the caller retries all rows.
            DeviceLost: The device cannot be used any more.
        """
        found: list[Any | RowFailure] = []
        # From the first call on, because a TorchScript module specializes itself for the mode of its first calls.
        with _inference_mode():
            for start in range(0, len(rows), self.max_batch_size):
                try:
                    found += self._answer(rows[start : start + self.max_batch_size])
                except self.interrupts as exc:
                    return found + [RowFailure(exc, retryable=False)] * (len(rows) - len(found))
        return found

    def warm_up(self) -> None:
        """Compute an example like real rows, and raise its failure.

        NaN and Infinity are accepted: the example may be zeros, and a model may divide by them.
        """
        for answer in self.predict(self._predictor.examples()):
            if isinstance(answer, RowFailure) and not isinstance(answer.error, NotFinite):
                raise answer.error

    def close(self) -> None:
        """Let the model release its resources (teardown)."""
        self._predictor.close()

    def _answer(self, rows: Sequence[Any]) -> list[Any | RowFailure]:
        prepared = self._predictor.prepare(rows)
        if is_array(prepared):  # an array contains no exceptions
            return self._forward.run(prepared)
        computed = iter(self._forward.run([p for p in prepared if not isinstance(p, Exception)]))
        return [self._forward.failure(p) if isinstance(p, Exception) else next(computed) for p in prepared]

    def _compute(self, prepared: Sequence[Any]) -> list[Any]:
        output = self._predictor.predict(prepared)
        if self._output == "classify":
            return classify(output, len(prepared), device=self.device)
        return answers(output, len(prepared))


def _inference_mode() -> AbstractContextManager[Any]:
    """Return torch's inference mode, which computes no gradients; does nothing if torch is not loaded."""
    torch = sys.modules.get("torch")
    return nullcontext() if torch is None else torch.inference_mode()


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
            raise DeviceLost.from_error(error) from error
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
                raise DeviceLost.from_error(error) from error
            if found is Trouble.MEMORY:
                return OutOfMemory(str(error))
            if isinstance(error, (*self._kinds.transient, *self._kinds.interrupts)):
                raise
            return error


_CLEAN_FORWARDS: Final = 32
"""Forwards of full size without an error, after which the cap grows."""


class BatchCap:
    """A cap on rows that is halved when memory runs out, and grows by half after 32 forwards of full size.

    It grows slowly, because another process may use the memory, and each failed attempt costs a forward.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._clean = 0
        self.rows = limit

    def shrink(self, tried: int) -> None:
        """Lower the cap, because `tried` rows did not fit."""
        self.rows = max(1, min(self.rows, tried // 2))
        self._clean = 0

    def fitted(self, tried: int) -> None:
        """Count a forward whose `tried` rows fit; fewer rows than the cap do not count."""
        if tried < self.rows or self.rows == self._limit:
            return
        self._clean += 1
        if self._clean == _CLEAN_FORWARDS:
            self._clean = 0
            self.rows = min(self._limit, self.rows + max(1, self.rows // 2))
