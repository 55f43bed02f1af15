"""Chord parts: how scripts are told of a part of a chord, and the parts that are counted away from the claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlq.broker.script import Script, Word
from mlq.store.claims.completion import ChordPart
from mlq.store.claims.stored_results import database

if TYPE_CHECKING:
    from redis import Redis

_count_part: Final = Script("claims/count_part")


def words(part: ChordPart) -> tuple[Word, ...]:
    """Give the ten words that chord.lua reads."""
    about = (part.db, part.key, part.task_id, part.index, part.value, part.known_by)
    body = "" if part.body is None else "failed" if part.body.has_failed else "published"
    return (*about, int(part.is_ordered), part.keep_s, part.keep_group_s, body)


def count(results: Redis, part: ChordPart) -> bool:
    """Count a part on the results' server, which is not the claims'; return whether it is the last of its chord.

    A part that runs again, since its worker died, is counted once, and is the last again if it was.
    """
    return bool(_count_part(results, [], [database(results), *words(part)]))


def forget(results: Redis, part: ChordPart) -> None:
    """Delete what was kept of a chord that has ended, as chord.lua does. The client selects the part's database."""
    suffixes = "tsc" if part.body is not None and part.body.has_failed else "jtsdc"
    results.delete(*(f"{part.key}.{suffix}" for suffix in suffixes))
