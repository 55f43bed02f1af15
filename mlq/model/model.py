"""The model: it is loaded, warm and ready for rows."""

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
        with inference_mode():
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
