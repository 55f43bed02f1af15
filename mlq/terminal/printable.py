"""Text of clients made safe to print: control characters escaped, and cut to the length of a line."""

from __future__ import annotations

from typing import Any, Final

from mlq.security.escaping import escaped

_ELLIPSIS: Final = "…"


def printable(value: Any, limit: int = 200) -> str:
    r"""Replace control, format and surrogate characters by escapes (ESC becomes \x1b) and cut at `limit`."""
    text = str(value)
    return escaped(text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS)
