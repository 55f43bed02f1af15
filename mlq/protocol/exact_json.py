"""JSON as Celery's own reader and writer have it, at orjson's speed wherever both agree.

They differ in what Python's json takes and gives exactly: whole numbers of more than 64 bits (orjson makes floats of
them), NaN and infinity, and halves of surrogate pairs, such as the names of files that are not UTF-8.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

_DIGITS_AS_ZEROS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_19_DIGITS: Final = b"0" * 19
_LONG_NUMBER: Final = re.compile(rb"\d{20}|-\d{19}")
"""What may be less than -2**63, which has 19 digits, or more than 2**64, which has 20. Python writes floats with 17."""


def loads(text: bytes) -> Any:
    """Decode JSON exactly. Raises ValueError for what is none, RecursionError for what is nested too deeply."""
    return json.loads(text.decode()) if has_long_number(text) else loads_rounded(text)


def loads_rounded(text: bytes) -> Any:
    """Decode JSON; whole numbers of more than 64 bits may become floats. Raises ValueError, RecursionError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # it may be one of the things that only Python's json reads
        return json.loads(text.decode())


def has_long_number(text: bytes) -> bool:
    """Tell whether a whole number of more than 64 bits may be in a JSON text: 1 µs a KiB.

    The search for 19 digits is for speed: the regular expression alone would take thirty times as long on floats.
    """
    return _19_DIGITS in text.translate(_DIGITS_AS_ZEROS) and _LONG_NUMBER.search(text) is not None


def dumps(value: Any) -> bytes:
    """Encode on one line, in UTF-8; NaN becomes null. Raises TypeError or ValueError for what JSON cannot hold."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def is_utf8(text: str) -> bool:
    """Tell whether a text can be written as UTF-8: one that holds half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
