"""What every format comes down to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Predictor(Protocol):
    """A model that is loaded and on its device."""

    max_batch_size: int
    retry_on: tuple[type[Exception], ...]
    """Failures that the model's author says can pass."""

    def examples(self) -> list[Any]:
        """Give rows to warm up with; none where nothing is known of a row."""

    def prepare(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Turn rows into what `predict` takes, once a row; an Exception in slot i of a list fails row i alone."""

    def predict(self, prepared: Sequence[Any]) -> Any:
        """Compute one forward: a tensor, an array, a dict or tuple of them, or a list of one output a row."""

    def close(self) -> None:
        """Give back what `setup` took."""
