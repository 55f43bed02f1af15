"""What goes wrong with a model: for one row, for one forward, for the device, before it serves at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlq.wire import row_error


@dataclass(frozen=True)
class RowFailure:
    """Stands where the row's output would stand. Retryable: the same row may succeed another time."""

    error: Exception
    retryable: bool

    def as_element(self, attempts: int) -> dict[str, Any]:
        """Write it as the element of a batch's result that stands for the row."""
        return row_error(self.error, retryable=self.retryable, attempts=attempts)


class ModelError(Exception):
    """The model answered something that cannot be an answer. Raised: for a whole forward; in a slot: for a row."""


class NotFinite(ModelError):
    """NaN or Infinity among the numbers of one row."""

    def __init__(self) -> None:
        super().__init__("the model answered with NaN or Infinity, which JSON cannot carry")


class OutOfMemory(MemoryError):
    """A forward did not fit. A copy of torch's message: torch's own exception keeps the forward's tensors alive."""


class DeviceLost(Exception):
    """The accelerator's context is gone: nothing in this process will ever compute on it again."""

    @classmethod
    def told_by(cls, error: Exception) -> DeviceLost:
        """Name the exception by its full type (torch.AcceleratorError) and the first line of its text."""
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        first_line = str(error).strip().partition("\n")[0]
        return cls(f"{name}: {first_line}")


class NotServable(Exception):
    """Why a reference cannot be served. `load` adds the reference and its origin, and makes it InvalidModel."""

    def __init__(self, reason: str, *, mend: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.mend = mend
