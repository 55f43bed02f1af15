"""Checking: a file is looked at once before anything is sent; a pipe cannot be."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlq.jobs.errors import DuplicateIds, NotReadable
from mlq.jobs.row import Unreadable, identify
from mlq.jobs.sources.format import Format
from mlq.jobs.sources.lines import Lines, decode
from mlq.jobs.sources.opening import PACKING, Input, fingerprint
from mlq.jobs.sources.source import Source

_AT_ONCE: Final = 1024
_SIZE: Final = 2**24
_SHOWN: Final = 10


@dataclass(frozen=True)
class Checked:
    """What the pass over a file found: how many rows, and the fingerprint of its bytes."""

    rows: int
    fingerprint: str


def check(given: Input, id_field: str | None) -> Checked:
    """Read a file to its end. Raises NoSuchFile, NotJson, NotReadable, DuplicateIds (the first ten)."""
    ids = _Ids()
    digest = hashlib.blake2b(digest_size=16)
    try:
        with given.opened(digest) as source:
            for first, values in _numbered(source, id_field):
                ids.add(first, values, id_field)
    except PACKING as exc:
        raise NotReadable(path=given.name, kind="gzip", reason=str(exc)) from None
    if ids.repeat:
        _complain(given, id_field, ids)
    streamed = given.format not in (Format.PARQUET, Format.FILES)
    return Checked(ids.rows, digest.hexdigest() if streamed else fingerprint(given))


def _numbered(source: Source, id_field: str | None) -> Iterator[tuple[int, Sequence[Any]]]:
    """Give the rows and the index of the first. Lines that cannot hold an id are not decoded: they come as bytes."""
    index = 0
    if isinstance(source, Lines):
        name = re.escape((id_field or "id").encode())
        holds_id = re.compile(rb'"%s"|"custom_id"|\\' % name).search  # a key may be written with escapes
        while lines := source.take_raw(_AT_ONCE):
            yield index, [decode(0, line) if holds_id(line) else line for line in lines]
            index += len(lines)
    else:
        while values := source.take(_AT_ONCE, _SIZE):
            yield index, values
            index += len(values)


class _Ids:
    """Finds ids that are there twice, by 8 bytes a row; none, while every id is its row's index."""

    def __init__(self) -> None:
        self.rows = 0
        self._seen: array[int] | None = None

    def add(self, first: int, values: Sequence[Any], id_field: str | None) -> None:
        found = [_id(first + n, value, id_field) for n, value in enumerate(values)]
        if self._seen is None and found != list(range(first, first + len(found))):
            self._seen = array("q", range(first))
        if self._seen is not None:
            self._seen.extend(map(hash, found))
        self.rows = first + len(values)

    @property
    def repeat(self) -> frozenset[int]:
        """Hashes that are there more than once: of equal ids, or by chance of others."""
        if self._seen is None:
            return frozenset()
        import numpy as np

        hashes, times = np.unique(np.frombuffer(self._seen, np.int64), return_counts=True)
        return frozenset(hashes[times > 1].tolist())


def _id(index: int, value: Any, id_field: str | None) -> Any:
    if isinstance(value, (bytes, Unreadable)):
        return index
    try:
        return identify(index, value, id_field)[0]
    except ValueError:
        return index


def _complain(given: Input, id_field: str | None, ids: _Ids) -> None:
    """Read again, now with an eye on the ids that may be there twice."""
    repeat, seen, twice, number = ids.repeat, set[Any](), list[str](), 0
    with given.opened() as source:
        for first, values in _numbered(source, id_field):
            for index, value in enumerate(values, first):
                found = _id(index, value, id_field)
                if hash(found) not in repeat:
                    continue
                if found in seen:
                    number += 1
                    twice.append(f"{found!r} (row {index})")
                    del twice[_SHOWN:]
                seen.add(found)
    if number:
        raise DuplicateIds(path=given.name, number=number, shown=", ".join(twice))
