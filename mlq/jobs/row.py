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
    return Unreadable(RowError("JSONDecodeError", f"line {line}: {reason}"))


def too_large(where: str, size: int) -> Unreadable:
    """Stand for a row that no worker would read."""
    return Unreadable(RowError("TooLarge", f"{where}: {size:,} bytes or more, the limit is {LARGEST_BYTES:,}"))


def identify(index: int, value: Any, id_field: str | None) -> tuple[Any, Any]:
    """Tell the id and the input of a decoded value. Raises ValueError if the id is none.

    The id is the field that --id-field names, else its envelope's, else its index.
    """
    if not isinstance(value, dict):
        return index, value
    enveloped, requested = _is_envelope(value), value.keys() >= REQUEST
    wanted = id_field if id_field is not None else "id" if enveloped else "custom_id" if requested else None
    found = index if wanted is None else value.get(wanted, index)
    if isinstance(found, bool) or not isinstance(found, (str, int)):
        message = f"an id is a text or a whole number, not {type(found).__name__}"
        raise ValueError(message)  # noqa: TRY004 (the value of a file, not a type of ours)
    return found, value["input"] if enveloped else value["body"] if requested else value


def _is_envelope(value: Mapping[str, Any]) -> bool:
    return "input" in value and value.keys() <= ENVELOPE
