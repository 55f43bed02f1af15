"""Scores turned into `{"class", "confidence", "device"}`."""

from __future__ import annotations

from typing import Any

from mlq.model.failure import ModelError, NotFinite
from mlq.model.outputs import Columns, check_length, finite_rows, is_array, kind, to_numpy

_MATRIX = 2


def classify(output: Any, rows: int, *, device: str) -> list[Any]:
    """Take the likeliest class of each row, by softmax. Raises ModelError for anything but rows by classes."""
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
