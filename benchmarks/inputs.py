"""The input rows, and files of them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from benchmarks.model import FEATURES

_DIGITS: Final = 6
PICTURE_CHARS: Final = 150_000


def numbers(random: np.random.Generator, rows: int) -> list[list[float]]:
    """Return rows of 16 floats, as they are in files."""
    found: list[list[float]] = random.random((rows, FEATURES)).round(_DIGITS).tolist()
    return found


def pictures(random: np.random.Generator, rows: int) -> list[str]:
    """Return rows of 150 KB: bytes in base64, the form of pictures in JSON."""
    return [base64.b64encode(random.bytes(PICTURE_CHARS * 3 // 4)).decode() for _ in range(rows)]


def write(path: Path, rows: Sequence[Any]) -> Path:
    """Write rows as JSON Lines."""
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    return path
