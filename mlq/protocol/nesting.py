"""Nesting: how deep lists and objects are nested in a JSON text, measured without decoding it.

orjson reads 1,024 levels but writes 254, and Python's json raises RecursionError at a depth that depends on the
caller's stack. A message between these limits could be claimed but not completed or published again, and would crash
the worker. So messages and results have limits of their own, well below all of these.
"""

from __future__ import annotations

import re
from typing import Final

MOST_LEVELS: Final = 200
"""Levels of a message's envelope, and of its body."""

MOST_LEVELS_OF_AN_ANSWER: Final = 240
"""Levels of a result, which may hold its row and a few levels around it. Celery's record adds two more, below 254."""

_LARGE: Final = 2**13
"""Size in bytes from which numpy counts faster than bytes.count."""

_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_TEXTS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STEPS: Final = bytes(1 if byte in b"[{" else 255 for byte in range(256))
"""Maps each bracket to its change of the level, as a signed byte: +1 or -1."""


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
