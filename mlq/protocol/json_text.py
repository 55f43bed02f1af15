"""JSON text: how mlq reads and writes JSON, exactly and at orjson's speed, and how deep a text is nested.

orjson differs from Python's json in three things. It converts integers of more than 64 bits to floats and refuses to
write them. It neither reads nor writes NaN and infinity. It refuses halves of surrogate pairs, as in file names that
are not UTF-8. Two kinds of text need different answers:

- Messages and their results are read and written as Celery reads and writes them: `loads`, `dumps`.
- Rows and ids in a user's files are valid JSON or an error, with exact integers: `loads_strict`, `dumps_strict`.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

MOST_LEVELS: Final = 200
"""Levels of a message's envelope, and of its body.

orjson reads 1,024 levels but writes 254, and Python's json raises RecursionError at a depth that depends on the
caller's stack. A message between these limits could be claimed but not completed or published again, and would crash
the worker. So messages and results have limits of their own, well below all of these.
"""

MOST_LEVELS_OF_AN_ANSWER: Final = 240
"""Levels of a result, which may hold its row and a few levels around it. Celery's record adds two more, below 254."""

_DIGITS_OF_64_BITS: Final = 19
"""The smallest integer that orjson reads as a float is -9223372036854775809."""

_BEFORE_NUMBER: Final = frozenset(b"\t\n\r ,:[-")
_KINDS: Final = bytes(
    ord("0") if byte in b"0123456789" else ord(" ") if byte in _BEFORE_NUMBER else ord(".") for byte in range(256)
)
_LONG_RUN: Final = b"0" * _DIGITS_OF_64_BITS
_LONG_INTEGER: Final = b" " + _LONG_RUN

_LARGE: Final = 2**13
"""Size in bytes from which numpy counts faster than bytes.count."""

_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_TEXTS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STEPS: Final = bytes(1 if byte in b"[{" else 255 for byte in range(256))
"""Maps each bracket to its change of the level, as a signed byte: +1 or -1."""


def loads(text: bytes) -> Any:
    """Decode JSON exactly. Raises ValueError for invalid JSON, RecursionError for JSON that is nested too deeply."""
    return json.loads(text.decode()) if may_hold_long_integer(text) else loads_rounded(text)


def loads_rounded(text: bytes) -> Any:
    """Decode JSON; integers of more than 64 bits may become floats. Raises ValueError, RecursionError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # only Python's json reads NaN, infinity and half surrogate pairs
        return json.loads(text.decode())


def loads_strict(text: bytes) -> Any:
    """Decode one JSON value of a user's file; integers are exact.

    Raises orjson.JSONDecodeError, also for NaN, 1e999, half surrogate pairs and integers of more than 308 digits.
    """
    value = orjson.loads(text)
    if not may_hold_long_integer(text):
        return value
    try:
        return json.loads(text)
    except RecursionError:
        raise orjson.JSONDecodeError("depth limit exceeded", "", 0) from None


def may_hold_long_integer(text: bytes) -> bool:
    """Return True if a JSON text may hold an integer of more than 64 bits.

    Fractions and strings of digits do not count, so orjson alone decodes ordinary data. It takes one pass, about a
    tenth of the time of decoding.
    """
    kinds = text.translate(_KINDS)
    return _LONG_INTEGER in kinds or kinds.startswith(_LONG_RUN)


def dumps(value: Any) -> bytes:
    """Encode on one line, in UTF-8; NaN becomes null. Raises TypeError or ValueError for values JSON cannot hold."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def dumps_strict(value: Any) -> bytes:
    """Encode one value on one line; integers are exact. Raises TypeError for values JSON cannot hold.

    The caller checks for NaN, which orjson writes as null; `loads_strict` never returns it.
    """
    try:
        return orjson.dumps(value)
    except TypeError as exc:
        if "64-bit" not in str(exc):
            raise
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError) as exc:
        raise TypeError(str(exc)) from None


def is_utf8(text: str) -> bool:
    """Return True if a text can be encoded as UTF-8; a text with half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_deeper(text: bytes, levels: int = MOST_LEVELS) -> bool:
    """Return True if a JSON text nests lists and objects deeper than `levels`. Takes time in proportion to the text.

    A text with at most `levels` opening brackets cannot; this test decides for most messages.
    """
    if not may_be_deeper(text, levels):
        return False
    # The first measurement includes brackets in strings, because removing the strings is slower and rarely necessary.
    return _depth(text) > levels and _depth(_TEXTS.sub(b"", text)) > levels


def may_be_deeper(text: bytes, levels: int = MOST_LEVELS) -> bool:
    """Return False if a JSON text has too few brackets to be nested deeper than `levels`."""
    return _count_openings(text) > levels


def _count_openings(text: bytes) -> int:
    if len(text) < _LARGE:
        return text.count(b"[") + text.count(b"{")
    import numpy as np

    # The two brackets differ in one bit. This takes a tenth of the time of bytes.count.
    return int(np.count_nonzero((np.frombuffer(text, np.uint8) | 0x20) == ord("{")))


def _depth(text: bytes) -> int:
    import numpy as np

    steps = np.frombuffer(text.translate(_STEPS, _NO_BRACKETS), np.int8)
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))
