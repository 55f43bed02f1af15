"""The signature of a file model: rows of numbers, of one dtype and shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import torch

_KINDS: Final = {"U": "texts", "O": "null, objects or mixed kinds", "S": "bytes"}


@dataclass(frozen=True)
class Signature:
    """The input of a file model."""

    dtype: torch.dtype
    row: tuple[int | None, ...] | None = None
    """Shape of a row, with None for any length; None if the shape is unknown."""

    def tensor(self, rows: Sequence[Any], device: str) -> torch.Tensor:
        """Convert rows to a tensor, through numpy: torch.tensor(list) is seven times slower."""
        import torch

        array = _numbers(rows)
        self._check(array)
        tensor = torch.from_numpy(_exactly(array, self._numpy_dtype))
        return tensor if device == "cpu" and tensor.dtype is self.dtype else tensor.to(device=device, dtype=self.dtype)

    def zeros(self) -> list[Any]:
        """Return one row of zeros, or no row if the shape is unknown. A free length becomes 2.

        torch.export treats lengths 0 and 1 as special, so 2 is the smallest length that each free dimension allows.
        """
        import numpy as np

        if self.row is None:
            return []
        return [np.zeros([2 if n is None else n for n in self.row], self._numpy_dtype).tolist()]

    def _check(self, array: np.ndarray[Any, Any]) -> None:
        found = array.shape[1:]
        if self.row is None:
            return
        if len(found) != len(self.row) or any(n not in {None, m} for n, m in zip(self.row, found, strict=True)):
            raise ValueError(f"the model takes rows of shape {_shape(self.row)}, not {_shape(found)}")

    @cached_property
    def _numpy_dtype(self) -> np.dtype[Any]:
        import numpy as np
        import torch

        # numpy has no bfloat16; float32 can represent all of its values.
        dtype = torch.float32 if self.dtype is torch.bfloat16 else self.dtype
        return np.dtype(str(dtype).removeprefix("torch."))


def _numbers(rows: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Convert rows to an array of numbers. Raises TypeError.

    numpy chooses the dtype: if it had to make floats, it would read "1.5" as a number and None as NaN.
    """
    import numpy as np

    array = np.asarray(rows)
    if array.dtype.kind not in "biuf":
        # The message names no value of the row, because it is logged.
        raise TypeError(f"a file model takes rows of numbers, not of {_KINDS.get(array.dtype.kind, array.dtype.name)}")
    return array


def _exactly(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Cast an array. Floats may lose digits, but a cast that turns 1.5 into 1 raises TypeError."""
    import numpy as np

    if array.dtype == dtype:
        return (
            array if array.flags.writeable else array.copy()
        )  # packed rows are read-only bytes, which torch must not change
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    if dtype.kind in "biu" and (cast != array).any():
        raise TypeError(f"the model takes {dtype}, and a row holds a number that is none")
    return cast


def _shape(lengths: Sequence[int | None]) -> str:
    return "[" + ", ".join("any" if n is None else str(n) for n in lengths) + "]"
