"""Nesting: how deep lists and objects lie within each other in a JSON text, measured without decoding it.

orjson reads 1,024 levels but writes 254, and Python's json ends in a RecursionError at a depth that depends on the
caller's stack. A message between these limits could be taken but neither answered nor passed on, and ended the worker
that tried. So messages and answers have limits of their own, well below all of these.
"""

from __future__ import annotations

import re
from typing import Final

MOST_LEVELS: Final = 200
"""Of the envelope and of the body of a message."""

MOST_LEVELS_OF_AN_ANSWER: Final = 240
"""An answer may hold its row and a few levels around it. Celery's record of a result adds two more: 254 are written."""

_LARGE: Final = 2**13
"""From this size on, numpy counts faster than bytes do."""

_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_TEXTS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STEPS: Final = bytes(1 if byte in b"[{" else 255 for byte in range(256))
"""Of each bracket, as a signed byte: one level down, or one up."""


def is_deeper(text: bytes, levels: int = MOST_LEVELS) -> bool:
    """Return True if a JSON text nests lists and objects deeper than `levels`. Takes time in proportion to the text.

    Text with fewer opening brackets than `levels` cannot, and that answers for most messages.
    """
    if not may_be_deeper(text, levels):
        return False
    # Brackets in strings count too, at first. They are seldom unbalanced, and it is slower to leave them out.
    return _depth(text) > levels and _depth(_TEXTS.sub(b"", text)) > levels


def may_be_deeper(text: bytes, levels: int = MOST_LEVELS) -> bool:
    """Return False if a JSON text has too few brackets to be nested deeper than `levels`."""
    return _count_openings(text) > levels


def _count_openings(text: bytes) -> int:
    if len(text) < _LARGE:
        return text.count(b"[") + text.count(b"{")
    import numpy as np

    # The two brackets differ in one bit. This takes a tenth of the time that bytes.count does.
    return int(np.count_nonzero((np.frombuffer(text, np.uint8) | 0x20) == ord("{")))


def _depth(text: bytes) -> int:
    import numpy as np

    steps = np.frombuffer(text.translate(_STEPS, _NO_BRACKETS), np.int8)
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))
