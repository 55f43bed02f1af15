"""Masking: what may hold a password, as it may be shown."""

from __future__ import annotations

import re
from typing import Any, Final

_PASSWORDS: Final = (
    # user:PASSWORD@ of each address: up to the last @, since a password may hold any character that was not escaped.
    re.compile(r"(?<=://)([^:@]*:).+?(?=@[^@]*(?:;\w+://|$))"),
    # ?password=PASSWORD in a URL, "password": "PASSWORD" in a table that is written as JSON.
    re.compile(r"""(password"?\s*[=:]\s*"?)(?:\\.|[^"&;\\])+""", re.IGNORECASE),
)


def masked(url: str) -> str:
    """Show a URL without its passwords: `redis://:secret@host/0` becomes `redis://:***@host/0`.

    The URL may be wrong: a password with a # in it makes one, and must not stand in the error that says so.
    """
    for password in _PASSWORDS:
        url = password.sub(r"\1***", url)
    return url


def without_passwords(value: Any) -> Any:
    """Mask every text in a value, and whatever is called a password."""
    if isinstance(value, dict):
        return {k: "***" if "password" in k.lower() else without_passwords(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_passwords(v) for v in value]
    return masked(value) if isinstance(value, str) else value
