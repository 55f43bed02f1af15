"""Chord parts: a part of a chord as arguments of a script, and parts that are counted on another server than claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from mlq.broker.script import Script, Word
from mlq.store.claims.completion import ChordPart
from mlq.store.claims.stored_results import database

if TYPE_CHECKING:
    from redis import Redis

_count_part: Final = Script("claims/count_part")


def words(part: ChordPart) -> tuple[Word, ...]:
    """Return the ten arguments that chord.lua reads."""
    about = (part.db, part.key, part.task_id, part.index, part.value, part.known_by)
    body = "" if part.body is None else "failed" if part.body.has_failed else "published"
    return (*about, int(part.is_ordered), part.keep_s, part.keep_group_s, body)


def count(results: Redis, part: ChordPart) -> bool:
    """Count a part where results and claims are on different servers; return True if it is the last of its chord.

    A part that runs again because its worker died is counted once. If it was the last part, it is the last again.
    """
    return bool(_count_part(results, [], [database(results), *words(part)]))


def values(results: Redis, part: ChordPart) -> list[bytes]:
    """Return the stored values of a chord whose parts have no order."""
    return cast("list[bytes]", results.lrange(f"{part.key}.j", 0, -1))


def indexed_values(results: Redis, part: ChordPart) -> list[tuple[float, bytes]]:
    """Return the stored values of a chord whose parts have an order, each with the index of its part."""
    found = cast("list[tuple[bytes, float]]", results.zrange(f"{part.key}.j", 0, -1, withscores=True))
    return [(index, value) for value, index in found]


def forget(results: Redis, part: ChordPart) -> None:
    """Delete the keys of a chord that has ended, as chord.lua does. The client must select the part's database."""
    suffixes = "tsc" if part.body is not None and part.body.has_failed else "jtsdc"
    results.delete(*(f"{part.key}.{suffix}" for suffix in suffixes))
