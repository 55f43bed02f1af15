"""The file model: a model that was loaded from a file, and takes rows of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlq.model.files.signature import Signature
from mlq.model.outputs import Columns, is_array


class FileModel:
    """A function from a tensor of rows to tensors, of any file format."""

    retry_on: tuple[type[Exception], ...] = ()

    def __init__(self, call: Callable[..., Any], signature: Signature, *, device: str, max_batch_size: int) -> None:
        self._call = call
        self._signature = signature
        self._device = device
        self.max_batch_size = max_batch_size

    def examples(self) -> list[Any]:
        return self._signature.zeros()

    def prepare(self, rows: Sequence[Any]) -> Sequence[Any]:
        return rows  # packed rows are an array already

    def predict(self, prepared: Sequence[Any]) -> Any:
        output = self._call(self._signature.tensor(prepared, self._device))
        return output if is_array(output) else Columns(output)

    def close(self) -> None:
        """Do nothing: the process ends next."""
