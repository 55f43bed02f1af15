"""Validation: reads a file once before its rows are sent. A stream is not checked, as it can be read only once."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlq.jobs.errors import DuplicateIds, UnknownIdField
from mlq.jobs.input.lines import JsonLines, decode
from mlq.jobs.input.source import Source
from mlq.jobs.input.sources import Input, fingerprint
from mlq.jobs.row import MISSING, NoField, Unreadable, identify, nearest

_AT_ONCE: Final = 1024
_SIZE: Final = 2**24
_SHOWN: Final = 10
_LOOKED_AT: Final = 100


@dataclass(frozen=True)
class Checked:
    """What the check of a file found."""

    rows: int

    fingerprint: str
    """Fingerprint of the bytes."""

    taken: frozenset[int] = frozenset()
    """Indexes of rows without an id that other rows have as their id."""


def check(given: Input, id_field: str | None) -> Checked:
    """Read a file to its end.

    Raises NoSuchFile, NotJson, NotText, NotReadable, DuplicateIds (the first ten), UnknownIdField.
    """
    ids = _Ids(id_field)
    digest = hashlib.blake2b(digest_size=16)
    with given.opened(digest) as source:
        for values in _read(source, id_field):
            ids.add(values)
    if id_field is not None and ids.rows and not ids.has_field:
        raise UnknownIdField(path=given.shown, field=id_field, fix=_meant(given, id_field))
    if ids.repeat:
        _report_duplicates(given, ids)
    found = digest.hexdigest() if given.is_text else fingerprint(given)
    return Checked(ids.rows, found, ids.taken)


def _read(source: Source, id_field: str | None) -> Iterator[Sequence[Any]]:
    """Return the rows. Lines that cannot hold an id are not decoded: they come as bytes."""
    if isinstance(source, JsonLines):
        name = re.escape((id_field or "id").encode("utf-8", "surrogateescape"))
        holds_id = re.compile(rb'"%s"|"custom_id"|\\' % name).search  # a key may be written with escapes
        while lines := source.take_raw(_AT_ONCE):
            yield [decode(0, line) if holds_id(line) else line for line in lines]
    else:
        while values := source.take(_AT_ONCE, _SIZE):
            yield values


class _Ids:
    """The ids of the rows, by 8 bytes a row; nothing is kept until the first row with an id."""

    def __init__(self, field: str | None) -> None:
        self.rows = 0
        self.field = field
        self._hashes = array("q")
        self._bare_before = 0
        self._bare = array("q")
        self.has_field = False

    def add(self, values: Sequence[Any]) -> None:
        """Add the next rows."""
        own = [MISSING if type(value) is bytes else self.own(value) for value in values]
        if self._hashes or any(row_id is not MISSING for row_id in own):
            self._hashes.extend(hash(row_id) for row_id in own if row_id is not MISSING)
            self._bare.extend(index for index, row_id in enumerate(own, self.rows) if row_id is MISSING)
        else:
            self._bare_before += len(own)
        self.rows += len(own)

    def own(self, value: Any) -> Any:
        """Return the id of a row, or MISSING."""
        if isinstance(value, (bytes, Unreadable)):
            return MISSING
        try:
            found = identify(value, self.field)[0]
        except NoField:
            return MISSING
        except ValueError:
            found = MISSING
        self.has_field = True
        return found

    @property
    def repeat(self) -> frozenset[int]:
        """Hashes that are there more than once: of equal ids, or by chance of others."""
        if not self._hashes:
            return frozenset()
        import numpy as np

        hashes, times = np.unique(np.frombuffer(self._hashes, np.int64), return_counts=True)
        return frozenset(hashes[times > 1].tolist())

    @property
    def taken(self) -> frozenset[int]:
        """Indexes of rows without an id that are ids of others. A small whole number is its own hash."""
        if not self._hashes or not (self._bare_before or self._bare):
            return frozenset()
        import numpy as np

        hashes = np.frombuffer(self._hashes, np.int64)
        early = hashes[(hashes >= 0) & (hashes < self._bare_before)]
        late = np.intersect1d(hashes, np.frombuffer(self._bare, np.int64)) if self._bare else early[:0]
        return frozenset(early.tolist()) | frozenset(late.tolist())


def _meant(given: Input, id_field: str) -> str:
    """Return a hint with the field that --id-field may have meant."""
    with given.opened() as source:
        values = source.take(_LOOKED_AT, _SIZE)
    known = list(dict.fromkeys(key for value in values if isinstance(value, dict) for key in value))
    return nearest(id_field, known) if known else "its rows are no objects; leave out --id-field"


def _report_duplicates(given: Input, ids: _Ids) -> None:
    """Read the file again, and raise DuplicateIds if ids whose hashes occur twice are equal."""
    repeat, seen, twice, number, index = ids.repeat, set[Any](), list[str](), 0, 0
    with given.opened() as source:
        for values in _read(source, ids.field):
            for value in values:
                found = ids.own(value)
                if found is not MISSING and hash(found) in repeat:
                    if found in seen:
                        number += 1
                        twice.append(f"{found!r} (row {index})")
                        del twice[_SHOWN:]
                    seen.add(found)
                index += 1
    if number:
        raise DuplicateIds(path=given.shown, number=number, shown=", ".join(twice))
