"""Row: one input of a file with its id, or an error instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

ENVELOPE: Final = frozenset({"id", "input"})
"""Fields of an envelope: an object with an input, and perhaps an id. The task receives the input only."""

REQUEST: Final = frozenset({"custom_id", "body"})
"""Fields of a line of OpenAI's batch files. Their other fields (method, url) are ignored."""

LARGEST_BYTES: Final = 16 * 2**20
"""Bytes of one row as JSON. A worker dead-letters a message of twice this size unread."""


@dataclass(frozen=True)
class RowError:
    """Why a row has no answer."""

    type: str
    message: str
    retryable: bool = False
    attempts: int = 0


@dataclass(frozen=True)
class Unreadable:
    """A row that could not be read."""

    error: RowError


def malformed(line: int, reason: str) -> Unreadable:
    """Return the error of a line that does not parse."""
    return Unreadable(RowError("JSONDecodeError", f"line {line}: not JSON: {reason}"))


def too_large(where: str, size: int) -> Unreadable:
    """Return the error of a row that no worker would read."""
    return Unreadable(RowError("TooLarge", f"{where}: {size:,} bytes or more, the limit is {LARGEST_BYTES:,}"))


def open_envelope(value: Mapping[str, Any]) -> tuple[str | None, Any]:
    """Return the field with the id of an object (None if it is not an envelope), and the input for the task."""
    if "input" in value and value.keys() <= ENVELOPE:
        return "id", value["input"]
    return ("custom_id", value["body"]) if value.keys() >= REQUEST else (None, value)
