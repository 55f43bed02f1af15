"""A model that is loaded, warm and ready for rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from mlq.model.accelerator import inference_mode
from mlq.model.cap import BatchCap
from mlq.model.failure import NotFinite, RowFailure
from mlq.model.forward import Forward
from mlq.model.outputs import answers, classify, is_array
from mlq.model.predictor import Predictor

Output = Literal["raw", "classify"]


class Model:
    """Rows in, JSON-able outputs out. `transient` are the failures of `predict` that can pass by themselves."""

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
        """Answer every row, in order: its output, or the failure that is its own.

        Raises what is `transient`, for all rows to be tried again, and DeviceLost, after which nothing works.
        What `interrupts` it (a time limit) fails the rows that have no answer yet; earlier forwards keep theirs.
        """
        found: list[Any | RowFailure] = []
        # From the very first call on: a TorchScript module specialises itself on the mode of its first calls.
        with inference_mode():
            for start in range(0, len(rows), self.max_batch_size):
                try:
                    found += self._answer(rows[start : start + self.max_batch_size])
                except self.interrupts as exc:
                    return found + [RowFailure(exc, retryable=False)] * (len(rows) - len(found))
        return found

    def warm_up(self) -> None:
        """Compute an example as real rows are computed, and raise what failed it.

        Zeros are what is tried where the model gives no example, and a model may divide by them.
        """
        for answer in self.predict(self._predictor.examples()):
            if isinstance(answer, RowFailure) and not isinstance(answer.error, NotFinite):
                raise answer.error

    def close(self) -> None:
        """Let the model give back what it took (teardown)."""
        self._predictor.close()

    def _answer(self, rows: Sequence[Any]) -> list[Any | RowFailure]:
        prepared = self._predictor.prepare(rows)
        if is_array(prepared):  # no slot of an array is an exception
            return self._forward.run(prepared)
        computed = iter(self._forward.run([p for p in prepared if not isinstance(p, Exception)]))
        return [self._forward.failure(p) if isinstance(p, Exception) else next(computed) for p in prepared]

    def _compute(self, prepared: Sequence[Any]) -> list[Any]:
        output = self._predictor.predict(prepared)
        if self._output == "classify":
            return classify(output, len(prepared), device=self.device)
        return answers(output, len(prepared))
