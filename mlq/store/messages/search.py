"""Search: find the message of one task in queues, claims, delays and dead letters, among a limited number of messages.

There is no index of task ids, because it would cost a write for every message. So a script searches the messages for
the text of the id, a portion in each step, and each message that contains it is decoded here to be sure.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import orjson

from mlq.broker.script import Script
from mlq.protocol import keys
from mlq.protocol.keys import PriorityOrder, queue_keys
from mlq.store.claims.held import claims_of
from mlq.store.workers import heartbeats

if TYPE_CHECKING:
    from redis import Redis

MOST_MESSAGES: Final = 20_000
"""The most messages searched in each list: those that are served first; of the dead letters, the latest."""

_MOST_S: Final = 3.0
_AT_ONCE: Final = 400
_BYTES_AT_ONCE: Final = 4 * 2**20

_locate: Final = Script("messages/locate")

How: TypeAlias = Literal["PAGE", "FIELDS", "LETTERS"]
"""What locate.lua reads: a list or a zset, fields of a hash, or dead letters."""

MessageOf: TypeAlias = Callable[[bytes], bytes]
"""Extracts a message from the element of a Redis key that holds it."""


def _run_locate(
    redis: Redis,
    searched: Sequence[str],
    *,
    how: How,
    first: int,
    most: int,
    texts: Sequence[bytes],
    fields: Sequence[str],
) -> tuple[int, bytes]:
    """Run locate.lua. Return the number of elements read, and the last of them if it contains a text, else b""."""
    number, element = _locate(redis, searched, [how, first, most, _BYTES_AT_ONCE, len(texts), *texts, *fields])
    return number, element


@dataclass(frozen=True)
class Found:
    """A message, and where it was found."""

    kind: Literal["queued", "delayed", "held", "dead"]
    raw: bytes
    name: str = ""
    """Name of the queue or the worker, or id of the dead letter."""

    ahead: int = 0
    """Messages in the queue that are served before this one."""

    until_ms: int | None = None
    """Due time of a delayed message."""


@dataclass
class Search:
    """One search for the message of a task."""

    redis: Redis
    task_id: str
    is_it: Callable[[bytes], bool]
    """Returns True for the message of the task."""

    clock: Callable[[], float] = time.monotonic
    skipped: list[str] = field(default_factory=list)
    """Descriptions of the messages that were not searched."""

    def __post_init__(self) -> None:
        self._give_up_at = self.clock() + _MOST_S
        # Clients write the id in ASCII, as Python's json does by default, or in UTF-8.
        self._texts: list[bytes] = sorted({json.dumps(self.task_id).encode(), orjson.dumps(self.task_id)})

    def run(self, queues: Iterable[str], order: PriorityOrder) -> Found | None:
        """Search queues, then claims, delayed messages and dead letters. Raises redis.RedisError.

        The order follows the way of a message: one that is claimed during the search is still found. One that is given
        back to its queue meanwhile may be missed.
        """
        return self._queued(queues, order) or self._held() or self._delayed() or self._dead()

    def _queued(self, queues: Iterable[str], order: PriorityOrder) -> Found | None:
        for queue in queues:
            ahead = 0
            for key in queue_keys(queue, order):
                at, raw = self._page(key, f"messages of queue {queue}", _whole)
                if raw is not None:
                    return Found("queued", raw, queue, ahead + at)
                ahead += at
        return None

    def _held(self) -> Found | None:
        for wid in heartbeats.leased(self.redis):
            for part in _parts([claim for claim, _ in claims_of(self.redis, wid)]):
                if self._is_late():
                    self.skipped.append(f"claims of worker {wid}")
                    break
                _, raw = self._ask("FIELDS", [keys.claims(wid)], 0, _of_record, part)
                if raw is not None:
                    return Found("held", _of_record(raw), wid)
        return None

    def _delayed(self) -> Found | None:
        _, member = self._page(keys.DELAYS, "delayed messages", _of_member)
        if member is None:
            return None
        due = self.redis.zscore(keys.DELAYS, member)
        return Found("delayed", _of_member(member), until_ms=None if due is None else int(due))

    def _dead(self) -> Found | None:
        letters = [i.decode() for i in cast("list[bytes]", self.redis.zrevrange(keys.DEAD, 0, MOST_MESSAGES - 1))]
        for part in _parts(letters):
            if self._is_late():
                self.skipped.append("dead letters")
                break
            at, raw = self._ask("LETTERS", [keys.dead_letter(i) for i in part], 0, _whole)
            if raw is not None:
                return Found("dead", raw, part[at])
        return None

    def _page(self, key: str, name: str, message_of: MessageOf) -> tuple[int, bytes | None]:
        """Search a list or a zset; return the number of messages before the one found, or of all searched."""
        looked = 0
        while looked < MOST_MESSAGES and not self._is_late():
            at, raw = self._ask("PAGE", [key], looked, message_of)
            if raw is not None:
                return looked + at, raw
            if at == 0:
                return looked, None
            looked += at
        there = self.redis.zcard(key) if key == keys.DELAYS else self.redis.llen(key)
        left = there - looked
        if left > 0:
            self.skipped.append(f"{left:,} {name}")
        return looked, None

    def _ask(
        self, how: How, where: Sequence[str], first: int, message_of: MessageOf, fields: Sequence[str] = ()
    ) -> tuple[int, bytes | None]:
        """Search one portion. Return the number of messages before the one found, and the element that holds it.

        If none is found, return the number of all that were searched, and None. An element that merely contains the
        text of the id, such as a message that follows from the task, is skipped.
        """
        looked = 0
        while looked < _AT_ONCE:
            number, held = _run_locate(
                self.redis,
                where,
                how=how,
                first=first + looked,
                most=_AT_ONCE - looked,
                texts=self._texts,
                fields=fields,
            )
            looked += number
            if not held:
                break
            if self.is_it(message_of(held)):
                return looked - 1, held
        return looked, None

    def _is_late(self) -> bool:
        return self.clock() > self._give_up_at


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]


def _whole(message: bytes) -> bytes:
    return message


def _of_record(record: bytes) -> bytes:
    """Extract a message from the record of its claim: see parts/record.lua."""
    _, length, rest = record.split(b" ", 2)
    return rest[int(length) :]


def _of_member(member: bytes) -> bytes:
    """Extract a message from an element of the delay list: the id of its last claim, a space and its record."""
    return _of_record(member.partition(b" ")[2])
