"""Backlog: the messages that wait in a queue, which are added, counted and deleted here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlq.broker.script import Script
from mlq.protocol import keys
from mlq.protocol.keys import queue_keys

if TYPE_CHECKING:
    from redis import Redis

_purge: Final = Script("queues/purge")


def _run_purge(redis: Redis, *, queue_key: str, most: int) -> list[bytes]:
    return list(_purge(redis, [queue_key, keys.CRASHES], [most]))


def push(redis: Redis, queue_key: str, raw: bytes) -> int:
    """Put a message on a list, behind all others; return the length of the list."""
    return int(redis.lpush(queue_key, raw))


def count(redis: Redis, queue: str) -> int:
    """Return the number of messages that wait in a queue, at every priority."""
    with redis.pipeline(transaction=False) as pipe:
        for key in queue_keys(queue):
            pipe.llen(key)
        return sum(pipe.execute())


def delete_oldest(redis: Redis, queue_key: str, most: int) -> list[bytes]:
    """Delete up to `most` messages from a list, and return them; empty if the list is."""
    return _run_purge(redis, queue_key=queue_key, most=most)
