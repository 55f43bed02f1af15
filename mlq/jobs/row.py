"""Row: one input with its id, or the error that stands in its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

ENVELOPE: Final = frozenset({"id", "input"})
"""An object with an input and at most an id around it is an envelope: the task receives the input alone."""


@dataclass(frozen=True)
class RowError:
    """Why a row has no answer."""

    type: str
    message: str
    retryable: bool = False
    attempts: int = 0


@dataclass(slots=True)
class Row:
    """One input. `index` counts from 0 in the file; `id` is what the output line carries.

    Not frozen: there may be millions, and a frozen one takes three times as long to make.
    """

    index: int
    id: Any
    input: Any = None
    error: RowError | None = None


def make(index: int, value: Any, id_field: str | None) -> Row:
    """Make a row of one decoded value of the file.

    Its id is the field that --id-field names, else its envelope's, else its index.
    """
    if not isinstance(value, dict):
        return Row(index, index, value)
    enveloped = "input" in value and value.keys() <= ENVELOPE
    wanted = id_field if id_field is not None else ("id" if enveloped else None)
    found = index if wanted is None else value.get(wanted, index)
    if isinstance(found, bool) or not isinstance(found, (str, int)):
        error = RowError("ValueError", f"an id is a text or a whole number, not {type(found).__name__}")
        return Row(index, index, error=error)
    return Row(index, found, value["input"] if enveloped else value)


def malformed(index: int, line: int, reason: str) -> Row:
    """Make the row of a line that is not JSON."""
    return Row(index, index, error=RowError("JSONDecodeError", f"line {line}: {reason}"))


def answered(row: Row, result: Any) -> dict[str, Any]:
    """Make the output line of a row that was answered."""
    return {"id": row.id, "index": row.index, "status": "ok", "result": result}


def failed(row: Row, error: RowError) -> dict[str, Any]:
    """Make the output line of a row that failed."""
    return {"id": row.id, "index": row.index, "status": "error", "error": asdict(error)}


def duplicates(rows: list[Row]) -> Iterator[Row]:
    """Find the rows whose id an earlier row has."""
    seen: set[Any] = set()
    for row in rows:
        if row.id in seen:
            yield row
        seen.add(row.id)
