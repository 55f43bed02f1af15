"""Booking: how the autoscalers of several hosts elect a leader, and share the number of workers that it wants."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from mlq.broker.script import Script
from mlq.protocol import keys

if TYPE_CHECKING:
    from redis import Redis

LEAD_MS: Final = 6000
"""A leader keeps the lead for at least this many ms after its last turn; then another autoscaler may take it."""

MEMBER_MS: Final = 15_000
"""Least time in ms for which a worker counts after the last turn of its autoscaler."""

_LEAD_TURNS: Final = 3
_MEMBER_TURNS: Final = 7
"""Turns for which the lead and a worker's place stay valid; each turn renews them."""

_seek: Final = Script("workers/seek")
_want: Final = Script("workers/want")
_book: Final = Script("workers/book")


def _run_seek(
    redis: Redis, *, queue: str, autoscaler: str, lead_ms: int, member_ms: int, members: Collection[str]
) -> tuple[bytes, bytes, list[bytes]]:
    script_keys = [keys.autoscale_leader(queue), keys.autoscale_want(queue), keys.autoscale_members(queue)]
    leader, want, all_members = _seek(redis, script_keys, [autoscaler, lead_ms, member_ms, *members])
    return leader, want, all_members


def _run_want(redis: Redis, *, queue: str, autoscaler: str, workers: int) -> bool:
    return bool(_want(redis, [keys.autoscale_leader(queue), keys.autoscale_want(queue)], [autoscaler, workers]))


def _run_book(redis: Redis, *, queue: str, worker_id: str, member_ms: int) -> bool:
    return bool(_book(redis, [keys.autoscale_want(queue), keys.autoscale_members(queue)], [worker_id, member_ms]))


@dataclass(frozen=True)
class Standing:
    """The state of a queue's scaling, as one autoscaler sees it."""

    leads: bool
    """True if this autoscaler is the leader."""

    want: int | None
    """The number of workers that the leader wants; None before the first leader has decided."""

    members: frozenset[str]
    """The workers that have a place."""


class Booking:
    """One autoscaler's part in the scaling of one queue.

    Args:
        redis: A client of the server that all autoscalers share.
        queue: The queue.
        me: The autoscaler's name, which must be unique.
        turn_s: Seconds between two turns of the autoscaler.
        lead_ms: See LEAD_MS.
        member_ms: See MEMBER_MS.
    """

    def __init__(
        self,
        redis: Redis,
        queue: str,
        me: str,
        *,
        turn_s: float = 0.0,
        lead_ms: int = LEAD_MS,
        member_ms: int = MEMBER_MS,
    ) -> None:
        self._redis = redis
        self._queue = queue
        self._me = me
        self._lead_ms = max(lead_ms, round(_LEAD_TURNS * turn_s * 1000))
        self._member_ms = max(member_ms, round(_MEMBER_TURNS * turn_s * 1000))

    def seek(self, mine: Collection[str]) -> Standing:
        """Renew the places of this autoscaler's workers, become the leader if there is none, and return the state."""
        leader, want, members = self._renew(self._lead_ms, mine)
        return Standing(
            leader.decode() == self._me, int(want) if want else None, frozenset(m.decode() for m in members)
        )

    @staticmethod
    def members(redis: Redis, queue: str) -> frozenset[str]:
        """Return the workers that have a place, without taking part in the scaling; this writes nothing."""
        now_s, now_us = redis.time()
        now_ms = now_s * 1000 + now_us // 1000
        found = cast("list[bytes]", redis.zrangebyscore(keys.autoscale_members(queue), now_ms, "+inf"))
        return frozenset(m.decode() for m in found)

    def want(self, workers: int) -> bool:
        """Set the number of workers that all autoscalers should run; False, without a change, if another one leads."""
        return _run_want(self._redis, queue=self._queue, autoscaler=self._me, workers=workers)

    def book(self, wid: str) -> bool:
        """Take a place for a worker before it is started; False if no place is free."""
        return _run_book(self._redis, queue=self._queue, worker_id=wid, member_ms=self._member_ms)

    def leave(self, wids: Collection[str]) -> None:
        """Give up the places of workers that have ended."""
        if wids:
            self._redis.zrem(keys.autoscale_members(self._queue), *wids)

    def resign(self, mine: Collection[str] = ()) -> None:
        """Give up the lead, so that another autoscaler can lead at once; renew the places of this one's workers."""
        self._renew(0, mine)

    def _renew(self, lead_ms: int, mine: Collection[str]) -> tuple[bytes, bytes, list[bytes]]:
        return _run_seek(
            self._redis,
            queue=self._queue,
            autoscaler=self._me,
            lead_ms=lead_ms,
            member_ms=self._member_ms,
            members=mine,
        )
