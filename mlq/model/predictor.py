"""The predictor: the interface that all model formats share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Predictor(Protocol):
    """A model that is loaded, on its device."""

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
