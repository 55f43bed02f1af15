"""Booking: how the autoscalers of several hosts agree on who decides, and on how many workers each may start."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from mlq.broker.script import Script
from mlq.protocol import keys

if TYPE_CHECKING:
    from redis import Redis

LEAD_MS: Final = 6000
"""So long after its last word a leader is followed by another autoscaler, at least."""

MEMBER_MS: Final = 15_000
"""So long after its host's last word a worker still counts, at least."""

_LEAD_TURNS: Final = 3
_MEMBER_TURNS: Final = 7
"""Leases are renewed with each turn, so they outlast a few, however far these are apart."""

_seek: Final = Script("workers/seek")
_want: Final = Script("workers/want")
_book: Final = Script("workers/book")


@dataclass(frozen=True)
class Standing:
    """How things stand: whether this autoscaler decides, how many workers are wanted (None: nobody has said yet)."""

    leads: bool
    want: int | None
    members: frozenset[str]


class Booking:
    """One autoscaler's part in the scaling of one queue; `me` is its name, unique among all.

    It takes a turn every `turn_s` seconds.
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
        self._leader = keys.autoscale_leader(queue)
        self._wanted = keys.autoscale_want(queue)
        self._members = keys.autoscale_members(queue)
        self._me = me
        self._lead_ms = max(lead_ms, round(_LEAD_TURNS * turn_s * 1000))
        self._member_ms = max(member_ms, round(_MEMBER_TURNS * turn_s * 1000))

    def seek(self, mine: Collection[str]) -> Standing:
        """Renew the places of one's own workers, lead if nobody does, and tell how things stand."""
        ours = [self._leader, self._wanted, self._members]
        leader, want, members = _seek(self._redis, ours, [self._me, self._lead_ms, self._member_ms, *mine])
        return Standing(
            leader.decode() == self._me, int(want) if want else None, frozenset(m.decode() for m in members)
        )

    @staticmethod
    def members(redis: Redis, queue: str) -> frozenset[str]:
        """Read the places of the workers that count, for one who looks and takes no part: nothing is written."""
        now_s, now_us = redis.time()
        now_ms = now_s * 1000 + now_us // 1000
        found = cast("list[bytes]", redis.zrangebyscore(keys.autoscale_members(queue), now_ms, "+inf"))
        return frozenset(m.decode() for m in found)

    def want(self, workers: int) -> bool:
        """Say how many workers autoscalers are to run in all; False, and nothing said, if another leads by now."""
        return bool(_want(self._redis, [self._leader, self._wanted], [self._me, workers]))

    def book(self, wid: str) -> bool:
        """Take a place for a worker that is about to be started; False if there is none."""
        return bool(_book(self._redis, [self._wanted, self._members], [wid, self._member_ms]))

    def leave(self, wids: Collection[str]) -> None:
        """Give up the places of workers that have ended."""
        if wids:
            self._redis.zrem(self._members, *wids)

    def resign(self, mine: Collection[str] = ()) -> None:
        """Lead no more, so that another need not wait: a lead of 0 ms has run out. Renews the places of one's own."""
        _seek(self._redis, [self._leader, self._wanted, self._members], [self._me, 0, self._member_ms, *mine])
