"""Held claims: lists of what workers have claimed, read in portions, so that a long list does not block the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from mlq.broker.script import Call, Script
from mlq.protocol import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis import Redis

_PAGE: Final = 250

_held: Final = Script("claims/held")


def _held_call(*, claims: str, cursor: str, about: int) -> Call:
    return [claims], [cursor, about]


def claims_of(redis: Redis, wid: str) -> Iterator[tuple[str, str]]:
    """Yield the id of each claim of a worker and the queue key that it came from, in no order."""
    yield from by_worker(redis, [wid]).get(wid, {}).items()


def by_worker(redis: Redis, wids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return, for each worker, the queue key of each of its claims; one round trip if every worker holds few."""
    held: dict[str, dict[str, str]] = {wid: {} for wid in wids}
    cursors: dict[str, str] = dict.fromkeys(held, "0")
    while cursors:
        calls = [_held_call(claims=keys.claims(w), cursor=cursor, about=_PAGE) for w, cursor in cursors.items()]
        replies = _held.batch(redis, calls)
        for wid, (cursor, *flat) in zip(list(cursors), replies, strict=True):
            # HSCAN may return a claim twice while the hash is resized; the dict keeps it once.
            held[wid].update((i.decode(), k.decode()) for i, k in zip(flat[::2], flat[1::2], strict=True))
            cursors[wid] = cursor.decode()
            if cursor == b"0":
                del cursors[wid]
    return held
