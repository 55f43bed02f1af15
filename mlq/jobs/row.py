"""Row: one input of a file with its id, or an error instead.

A row has its own id; without one it has its index, or null if another row has that number as its id. All rows of a file
are known before the first is sent; of a stream only those that were read. So Naming decides with the ids of all rows,
StreamNaming with those so far.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
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


MISSING: Final = object()
"""Instead of the id of a row that has no id."""

_KINDS: Final = {list: "a list", dict: "an object", bool: "true or false", float: "a fraction", type(None): "null"}
_NOTHING_TAKEN: Final = frozenset[int]()


class Naming:
    """Gives the rows of a file their ids.

    Args:
        field: The field that --id-field names.
        taken: Indexes that other rows have as their ids. A row without an id and with such an index has the id null.
    """

    def __init__(self, field: str | None = None, taken: frozenset[int] = _NOTHING_TAKEN) -> None:
        self.field = field
        self._taken = taken

    def own(self, row_id: Any, index: int) -> tuple[Any, RowError | None]:
        """Return the id for the output line of a row with an id, and an error if an earlier row has that id.

        Files were checked before.
        """
        del index
        return row_id, None

    def made_up(self, index: int, *, is_plain: bool) -> int | None:
        """Return the id of a row without an id. `is_plain`: the row could be read, and did not need to have one."""
        del is_plain
        return None if index in self._taken else index

    def all_made_up(self, indexes: Sequence[int]) -> Sequence[int | None]:
        """Return the ids of rows without ids; `indexes` itself if these are the ids."""
        return indexes if self._taken.isdisjoint(indexes) else [None if i in self._taken else i for i in indexes]


class StreamNaming(Naming):
    """Gives the rows of a stream their ids. A row without an id has its index until a row has a whole number as its id.

    A row that repeats the id of an earlier row is an error, and keeps that id, so that its sender finds it. Only an
    index that an earlier row has instead of an id is not given a second time.

    A row that cannot be read has its index as id only after a row that was read and had no id: a stream whose first row
    is malformed may have ids.
    """

    def __init__(self, field: str | None = None) -> None:
        super().__init__(field)
        self._seen = set[Any]()
        self._unnumbered = set[int]()
        self._numbered_until: int | None = None
        self._has_plain = False

    def own(self, row_id: Any, index: int) -> tuple[Any, RowError | None]:
        """Return what Naming.own returns."""
        if row_id in self._seen:
            if self._numbered_until is None:
                self._unnumbered.add(index)
            return row_id, RowError("DuplicateId", f"an earlier row has the id {row_id!r}")
        if isinstance(row_id, int):
            if self._numbered_until is None:
                self._numbered_until = index
            if 0 <= row_id < self._numbered_until and row_id not in self._unnumbered:
                return None, RowError("DuplicateId", f"row {row_id}, which has no id of its own, carries {row_id}")
        if self._numbered_until is None:
            self._unnumbered.add(index)
        self._seen.add(row_id)
        return row_id, None

    def made_up(self, index: int, *, is_plain: bool) -> int | None:
        """Return what Naming.made_up returns."""
        self._has_plain = self._has_plain or is_plain
        if self._numbered_until is not None:
            return None
        if self._has_plain:
            return index
        self._unnumbered.add(index)
        return None

    def all_made_up(self, indexes: Sequence[int]) -> Sequence[int | None]:
        """Return what Naming.all_made_up returns."""
        self._has_plain = True
        return indexes if self._numbered_until is None else [None] * len(indexes)


class NoField(ValueError):
    """A row lacks the field that --id-field names."""


def identify(value: Any, field: str | None) -> tuple[Any, Any]:
    """Return the id of a decoded value, or MISSING, and its input.

    The id is the field that --id-field names, or that of the envelope. Raises NoField for a row without that field,
    ValueError for a value that cannot be an id.
    """
    if not isinstance(value, dict):
        if field is not None:
            message = f"the row is no object, so it has no field {field!r} (--id-field)"
            raise NoField(message)
        return MISSING, value
    wanted, given = open_envelope(value)
    if field is not None and field not in value:
        raise NoField(_no_field(field, tuple(value)))
    found = value.get(field if field is not None else wanted, MISSING)
    if found is not MISSING and (isinstance(found, bool) or not isinstance(found, (str, int))):
        message = f"an id is a text or a whole number, not {_KINDS.get(type(found), type(found).__name__)}"
        raise ValueError(message)
    return found, given


def nearest(field: str, known: Sequence[str]) -> str:
    """Return a hint with the field that was probably meant, and the fields that exist."""
    found = difflib.get_close_matches(field, known, 1)
    meant = f"did you mean {found[0]!r}? " if found else ""
    return f"{meant}the fields are {', '.join(known[:10])}"


@lru_cache(64)
def _no_field(field: str, known: tuple[str, ...]) -> str:
    return f"no field {field!r} (--id-field); {nearest(field, known)}"
