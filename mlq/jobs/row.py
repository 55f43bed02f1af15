"""Row: one input of a file, its id, or the error that stands in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

ENVELOPE: Final = frozenset({"id", "input"})
"""An object with an input and at most an id around it is an envelope: the task receives the input alone."""

REQUEST: Final = frozenset({"custom_id", "body"})
"""OpenAI's batch lines hold these; what else they hold (method, url) is of no use here."""

LARGEST_BYTES: Final = 16 * 2**20
"""Of one row as JSON. A worker buries messages of twice that unread."""


@dataclass(frozen=True)
class RowError:
    """Why a row has no answer."""

    type: str
    message: str
    retryable: bool = False
    attempts: int = 0


@dataclass(frozen=True)
class Unreadable:
    """Stands for a row that could not be read."""

    error: RowError


def malformed(line: int, reason: str) -> Unreadable:
    """Stand for a line that does not parse."""
    return Unreadable(RowError("JSONDecodeError", f"line {line}: not JSON: {reason}"))


def too_large(where: str, size: int) -> Unreadable:
    """Stand for a row that no worker would read."""
    return Unreadable(RowError("TooLarge", f"{where}: {size:,} bytes or more, the limit is {LARGEST_BYTES:,}"))


def open_envelope(value: Mapping[str, Any]) -> tuple[str | None, Any]:
    """Return the field that holds an object's id, None if it is no envelope, and the input that the task receives."""
    if "input" in value and value.keys() <= ENVELOPE:
        return "id", value["input"]
    return ("custom_id", value["body"]) if value.keys() >= REQUEST else (None, value)
