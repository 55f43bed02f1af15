"""Row ids: a row's own, else its index; never one that another row has.

Rows of a file are known before any is sent, those of a stream are not. So what stands for a missing id is decided
differently: Naming knows every id that rows have of their own, StreamNaming only those that have come.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from mlq.jobs import row
from mlq.jobs.row import RowError

MISSING: Final = object()
"""Stands for the id of a row that has none of its own."""

_KINDS: Final = {list: "a list", dict: "an object", bool: "true or false", float: "a fraction", type(None): "null"}
_NOTHING_TAKEN: Final = frozenset[int]()


class Naming:
    """Names the rows of a file. `taken` are indexes that other rows have as ids of their own: null stands for those."""

    def __init__(self, field: str | None = None, taken: frozenset[int] = _NOTHING_TAKEN) -> None:
        self.field = field
        self._taken = taken

    def own(self, row_id: Any, index: int) -> tuple[Any, RowError | None]:
        """Take note of a row's own id; return what its output line carries, and an error if an earlier row has it.

        Files were checked before.
        """
        del index
        return row_id, None

    def made_up(self, index: int, *, is_plain: bool) -> int | None:
        """Return the id of a row without one; `is_plain`: a row that could be read, and none was asked of it."""
        del is_plain
        return None if index in self._taken else index

    def all_made_up(self, indexes: Sequence[int]) -> Sequence[int | None]:
        """Return the ids of rows of which none has one of its own; `indexes` itself where those are the ids."""
        return indexes if self._taken.isdisjoint(indexes) else [None if i in self._taken else i for i in indexes]


class StreamNaming(Naming):
    """Names the rows of a stream: an index only while no row has shown that whole numbers are ids of this stream.

    A row that repeats the id of an earlier row is an error row and keeps that id, so that its sender finds it. Only an
    id that was made up for an earlier row is not given again.

    A row that cannot be read carries one only behind a row that was read and had no id, since a stream whose first
    row is malformed may well have ids.
    """

    def __init__(self, field: str | None = None) -> None:
        super().__init__(field)
        self._seen = set[Any]()
        self._unnumbered = set[int]()
        self._numbered_until: int | None = None
        self._has_plain = False

    def own(self, row_id: Any, index: int) -> tuple[Any, RowError | None]:
        """See Naming."""
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
        """See Naming."""
        self._has_plain = self._has_plain or is_plain
        if self._numbered_until is not None:
            return None
        if self._has_plain:
            return index
        self._unnumbered.add(index)
        return None

    def all_made_up(self, indexes: Sequence[int]) -> Sequence[int | None]:
        """See Naming."""
        self._has_plain = True
        return indexes if self._numbered_until is None else [None] * len(indexes)


class NoField(ValueError):
    """A row lacks the field that --id-field names."""


def identify(value: Any, field: str | None) -> tuple[Any, Any]:
    """Return the id that a decoded value has of its own, or MISSING, and its input.

    The id is the field that --id-field names, else its envelope's. Raises NoField for a
    row without that field, ValueError for an id that is none.
    """
    if not isinstance(value, dict):
        if field is not None:
            message = f"the row is no object, so it has no field {field!r} (--id-field)"
            raise NoField(message)
        return MISSING, value
    wanted, given = row.open_envelope(value)
    if field is not None and field not in value:
        raise NoField(_no_field(field, tuple(value)))
    found = value.get(field if field is not None else wanted, MISSING)
    if found is not MISSING and (isinstance(found, bool) or not isinstance(found, (str, int))):
        message = f"an id is a text or a whole number, not {_KINDS.get(type(found), type(found).__name__)}"
        raise ValueError(message)
    return found, given


def nearest(field: str, known: Sequence[str]) -> str:
    """Say which field was meant, and which there are."""
    found = difflib.get_close_matches(field, known, 1)
    meant = f"did you mean {found[0]!r}? " if found else ""
    return f"{meant}the fields are {', '.join(known[:10])}"


@lru_cache(64)
def _no_field(field: str, known: tuple[str, ...]) -> str:
    return f"no field {field!r} (--id-field); {nearest(field, known)}"
