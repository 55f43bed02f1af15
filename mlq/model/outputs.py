"""Outputs: what a model returns becomes one answer for each row that JSON can represent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlq.model.failure import ModelError, NotFinite, contained
from mlq.protocol.json_text import MOST_LEVELS_OF_AN_ANSWER

if TYPE_CHECKING:
    import numpy as np


_PLAIN = frozenset({str, int, bool, type(None)})


@dataclass(frozen=True)
class Columns:
    """Several outputs of all rows, from a model file.

    For a class, a tuple means one output for each row; a guess could be wrong unnoticed.
    """

    outputs: Any
    """A dict, tuple or list of tensors, perhaps nested."""


def answers(output: Any, rows: int) -> list[Any]:
    """Return one answer for each row, or an Exception in its slot. Raises ModelError for another number of outputs."""
    if isinstance(output, Columns):
        return _across(output.outputs, rows)
    if is_array(output):
        return _split(output, rows)
    return [_json_or_error(value) for value in per_row(output, rows)]


def per_row(output: Any, rows: int) -> list[Any]:
    """Return one output for each row, unchanged. Raises ModelError for another number of outputs."""
    check_length(output, rows)
    return list(output)


def check_length(output: Any, rows: int) -> None:
    """Raise ModelError with both lengths if there is not one output for each row."""
    if isinstance(output, list):
        found = len(output)
    elif is_array(output) and output.shape:
        found = output.shape[0]
    else:
        raise ModelError(f"the model answered {rows} rows with one {kind(output)}, not a list of length {rows}")
    if found != rows:
        raise ModelError(f"the model answered {rows} rows with {found} outputs")


def is_array(value: Any) -> bool:
    """Recognize a tensor or array of any library, without importing one."""
    return hasattr(value, "__array__") and hasattr(value, "shape")


def to_numpy(value: Any) -> np.ndarray[Any, Any]:
    """Convert a tensor or array to numpy."""
    import numpy as np

    if hasattr(value, "detach"):  # a tensor, which may be on a device, or of a dtype that numpy lacks
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    return np.asarray(value)


def finite_rows(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return for each row whether all of its numbers are finite."""
    import numpy as np

    fine: np.ndarray[Any, Any] = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    return fine


def kind(value: Any) -> str:
    """Return the short name of a type: list, Tensor, DataFrame."""
    return type(value).__name__


def _split(output: Any, rows: int) -> list[Any]:
    import numpy as np

    check_length(output, rows)
    array = to_numpy(output)
    found: list[Any] = array.tolist()
    if array.dtype.kind in "biu":
        return found
    if array.dtype.kind != "f":
        return [_json_or_error(value) for value in found]
    if np.isfinite(array).all():
        return found
    return [value if fine else NotFinite() for value, fine in zip(found, finite_rows(array), strict=True)]


def _across(outputs: Any, rows: int) -> list[Any]:
    if is_array(outputs):
        return _split(outputs, rows)
    if isinstance(outputs, dict) and outputs:
        columns = [_across(value, rows) for value in outputs.values()]
        return [_error_among(row) or dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]
    if isinstance(outputs, (list, tuple)) and outputs:
        columns = [_across(value, rows) for value in outputs]
        return [_error_among(row) or list(row) for row in zip(*columns, strict=True)]
    raise ModelError(f"the model answered {rows} rows with one {kind(outputs)}, not a tensor")


def _error_among(values: Sequence[Any]) -> Exception | None:
    return next((v for v in values if isinstance(v, Exception)), None)


def _json_or_error(value: Any) -> Any:
    if isinstance(value, BaseException):  # asyncio.gather(return_exceptions=True) also returns a CancelledError
        return contained(value)
    try:
        return _json(value)
    except ModelError as error:
        return error


def _json(value: Any, levels: int = MOST_LEVELS_OF_AN_ANSWER) -> Any:
    """Copy a value with JSON's types; lists and objects may be nested `levels` deep. Raises ModelError."""
    if type(value) in _PLAIN:
        return value
    if is_array(value):  # includes numpy's scalars, which json cannot write
        value = to_numpy(value).tolist()
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotFinite
        return value
    if not levels and isinstance(value, (list, tuple, dict)):
        raise ModelError(f"the model answered with more than {MOST_LEVELS_OF_AN_ANSWER} levels of lists and objects")
    if isinstance(value, (list, tuple)):
        return [_json(v, levels - 1) for v in value]
    if isinstance(value, dict) and all(isinstance(key, (str, int)) for key in value):
        return {str(key): _json(v, levels - 1) for key, v in value.items()}
    if type(value) in _PLAIN:
        return value
    raise ModelError(f"the model answered with type {kind(value)}, which JSON cannot carry")


_MATRIX = 2


def classify(output: Any, rows: int, *, device: str) -> list[Any]:
    """Return the likeliest class of each row, by softmax. Raises ModelError unless the shape is [rows, classes]."""
    import numpy as np

    if not is_array(output) or len(output.shape) != _MATRIX:
        output = output.outputs if isinstance(output, Columns) else output
        shape = f" of shape {list(output.shape)}" if is_array(output) else ""
        raise ModelError(f"output = classify takes a tensor of rows by classes, not a {kind(output)}{shape}")
    check_length(output, rows)
    scores = to_numpy(output).astype(np.float64)
    fine = finite_rows(scores)
    scores[~fine] = 0.0
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    confidences = weights.max(axis=1) / weights.sum(axis=1)
    found = zip(scores.argmax(axis=1).tolist(), confidences.tolist(), fine.tolist(), strict=True)
    return [
        {"class": best, "confidence": round(confidence, 4), "device": device} if ok else NotFinite()
        for best, confidence, ok in found
    ]
