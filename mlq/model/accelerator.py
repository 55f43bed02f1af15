"""The accelerator: what an exception says about the device. torch is asked only if it is loaded."""

from __future__ import annotations

import enum
import gc
import sys
from typing import Any

_MEMORY = ("out of memory", "can't allocate memory")
_LOST = ("device-side assert", "illegal memory access", "illegal address", "unspecified launch failure")
_LIBRARY = ("CUDNN_STATUS_", "CUBLAS_STATUS_")


class Trouble(enum.Enum):
    """The kind of an exception, which decides what to do about it."""

    MEMORY = enum.auto()
    """The memory of the device is full: try fewer rows at once."""

    LOST = enum.auto()
    """The device failed: end this process."""

    ROWS = enum.auto()
    """Rows are at fault: find them."""


def trouble(error: Exception) -> Trouble:
    """Classify an exception: full memory, a failed device, or a fault of the rows.

    Full memory is checked first: cudaErrorMemoryAllocation is a torch.AcceleratorError, too, but the context stays
    usable. A status of cuDNN or cuBLAS may mean full memory or a failed device, so one element is computed to find out.
    """
    text = str(error)
    if isinstance(error, MemoryError):
        return Trouble.MEMORY
    if not isinstance(error, RuntimeError):
        return Trouble.ROWS
    if isinstance(error, _torch_type("OutOfMemoryError")) or any(words in text for words in _MEMORY):
        return Trouble.MEMORY
    if isinstance(error, _torch_type("AcceleratorError")) or any(words in text for words in _LOST):
        return Trouble.LOST
    if any(words in text for words in _LIBRARY):
        return Trouble.MEMORY if _computes() else Trouble.LOST
    return Trouble.ROWS


def release_memory() -> None:
    """Return cached blocks to the device. This helps only after the frames of the failed forward are gone."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.cuda.empty_cache()  # does nothing if CUDA is not in use


def _torch_type(name: str) -> Any:
    """Return a type of torch, or the empty tuple, of which no object is an instance."""
    return getattr(sys.modules.get("torch"), name, ())


def _computes() -> bool:
    torch = sys.modules["torch"]
    try:
        return float(torch.ones(1, device="cuda").sum()) == 1.0
    except torch.OutOfMemoryError:  # the failed forward still holds the memory, so the device works
        return True
    except (RuntimeError, AssertionError):  # AssertionError: this torch was built without CUDA
        return False
