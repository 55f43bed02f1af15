"""Search: the message of one task, wherever in Redis it is, looking at a bounded number of messages.

There is no index of ids: it would cost every message a write. So messages are looked through by the server itself, a
portion in each step, for the text of the id; what holds it is decoded here to be sure.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import orjson

from mlq.broker.script import Script, Word
from mlq.protocol import keys
from mlq.protocol.priorities import PriorityOrder, queue_keys
from mlq.store.claims.held import claims_of

if TYPE_CHECKING:
    from redis import Redis

MOST_MESSAGES: Final = 20_000
"""Of each list; those that are served first are looked at."""

_MOST_S: Final = 3.0
_AT_ONCE: Final = 400
_BYTES_AT_ONCE: Final = 4 * 2**20

_locate: Final = Script("messages/locate")

MessageOf: TypeAlias = Callable[[bytes], bytes]
"""Takes a message out of what holds it."""


@dataclass(frozen=True)
class Found:
    """A message, and where it is: in a queue behind `ahead` others, delayed until a time, held by a worker, or dead.

    `name` is that of the queue or the worker, or the id of the dead letter.
    """

    kind: Literal["queued", "delayed", "held", "dead"]
    raw: bytes
    name: str = ""
    ahead: int = 0
    until_ms: int | None = None


@dataclass
class Search:
    """One search. `is_it` tells whether a message is the one; `skipped` says in words what was not looked at."""

    redis: Redis
    task_id: str
    is_it: Callable[[bytes], bool]
    clock: Callable[[], float] = time.monotonic
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._give_up_at = self.clock() + _MOST_S
        # As clients write it: in ASCII, as Python's json does by default, or in UTF-8.
        self._texts: list[bytes] = sorted({json.dumps(self.task_id).encode(), orjson.dumps(self.task_id)})

    def run(self, queues: Iterable[str], order: PriorityOrder) -> Found | None:
        """Look in queues, at what workers hold, at delayed messages and at dead letters. Raises redis.RedisError.

        In this order a message that is taken from a queue meanwhile is met where it goes; one that is given back to its
        queue may be missed.
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
        for wid in (w.decode() for w in cast("list[bytes]", self.redis.zrange(keys.LEASES, 0, -1))):
            for part in _parts([claim for claim, _ in claims_of(self.redis, wid)]):
                if self._is_late():
                    self.skipped.append(f"what worker {wid} holds")
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
        """Look through a list or a zset; give how many come before the message, or how many were looked at."""
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
        self, how: str, where: Sequence[str], first: int, message_of: MessageOf, fields: Sequence[str] = ()
    ) -> tuple[int, bytes | None]:
        """Look at one portion: how many come before the message, and what holds it; else how many were looked at.

        What only holds the text of the id, such as a message that follows from the task, is passed over.
        """
        looked = 0
        while looked < _AT_ONCE:
            words: list[Word] = [how, first + looked, _AT_ONCE - looked, _BYTES_AT_ONCE, len(self._texts)]
            number, held = _locate(self.redis, where, [*words, *self._texts, *fields])
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
    """Take a message out of its record: see parts/record.lua."""
    _, length, rest = record.split(b" ", 2)
    return rest[int(length) :]


def _of_member(member: bytes) -> bytes:
    """Take a message out of the delay list, where the id of its last claim is in front of its record."""
    return _of_record(member.partition(b" ")[2])
