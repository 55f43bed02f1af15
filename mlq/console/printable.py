"""Make text from messages safe to print: a payload must not steer a terminal or forge a log line."""

from __future__ import annotations

import unicodedata
from typing import Any, Final

_ELLIPSIS: Final = "…"


def printable(value: Any, limit: int = 200) -> str:
    r"""Replace control, format and surrogate characters by escapes (ESC becomes \x1b) and cut at `limit`."""
    text = str(value)
    shown = text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS
    return "".join(c if _is_plain(c) else _escaped(c) for c in shown)


def _is_plain(character: str) -> bool:
    return not unicodedata.category(character).startswith("C")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
