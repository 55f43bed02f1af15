"""What an exception says about the device, asked of torch only if torch is loaded."""

from __future__ import annotations

import enum
import gc
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

_MEMORY = ("out of memory", "can't allocate memory")
_LOST = ("device-side assert", "illegal memory access", "illegal address", "unspecified launch failure")
_LIBRARY = ("CUDNN_STATUS_", "CUBLAS_STATUS_")


class Trouble(enum.Enum):
    """What to do about an exception: shrink, give up the process, or look at the rows."""

    MEMORY = enum.auto()
    LOST = enum.auto()
    ROWS = enum.auto()


def trouble(error: Exception) -> Trouble:
    """Tell the device's fault from the rows' fault.

    Memory is asked first: cudaErrorMemoryAllocation comes as torch.AcceleratorError too, and leaves the
    context whole. A status of cuDNN or cuBLAS means either, so one element is computed to see which.
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


def inference_mode() -> AbstractContextManager[Any]:
    """Compute without gradients, if there is torch to compute with."""
    torch = sys.modules.get("torch")
    return nullcontext() if torch is None else torch.inference_mode()


def release_memory() -> None:
    """Give cached blocks back to the device. Useful only once the failed forward's frames are gone."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.cuda.empty_cache()  # does nothing where CUDA is not in use


def _torch_type(name: str) -> Any:
    """Find a type of torch's; the empty tuple, of which nothing is an instance, where there is none."""
    return getattr(sys.modules.get("torch"), name, ())


def _computes() -> bool:
    torch = sys.modules["torch"]
    try:
        return float(torch.ones(1, device="cuda").sum()) == 1.0
    except torch.OutOfMemoryError:  # the failed forward still holds all there is: that is an answer, too
        return True
    except (RuntimeError, AssertionError):  # AssertionError: this torch was built without CUDA
        return False
