"""TorchScript modules, which torch.jit.save writes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlq.model.files.exported import HOW_TO_EXPORT
from mlq.model.files.file_model import FileModel
from mlq.model.files.signature import Signature

if TYPE_CHECKING:
    import torch

_log = logging.getLogger("mlq.model")


def load_torchscript(path: Path, *, device: str, max_batch_size: int) -> FileModel:
    """Load a module. It has no record of its input, so rows become float32, and there is no warm-up."""
    import torch

    with warnings.catch_warnings():
        # Python shows torch's warning to developers only; the log line below is for operators.
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    _log.warning(
        "%s is TorchScript, which torch deprecates: it serves today, export it for tomorrow: %s",
        path,
        HOW_TO_EXPORT,
        extra={"action": "torchscript_deprecated"},
    )
    return FileModel(_plain(module), Signature(torch.float32), device=device, max_batch_size=max_batch_size)


def _plain(module: Callable[..., Any]) -> Callable[..., Any]:
    """Shorten TorchScript's errors to their last line: twenty lines of its own source come before it."""

    def call(rows: torch.Tensor) -> Any:
        try:
            return module(rows)
        except RuntimeError as error:
            if type(error) is not RuntimeError or "Traceback of TorchScript" not in str(error):
                raise
            raise RuntimeError(str(error).rstrip().splitlines()[-1].removeprefix("RuntimeError: ")) from error

    return call
