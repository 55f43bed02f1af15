"""Stored results: results of tasks as Celery's Redis backend keeps them, without the end of a claim."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from redis import Redis

    from mlq.protocol.result import Answer


def store(redis: Redis, answer: Answer) -> None:
    """Store and publish a result where results and claims are on different servers."""
    with redis.pipeline(transaction=False) as pipe:
        pipe.set(answer.key, answer.payload, ex=answer.keep_s or None)
        pipe.publish(answer.key, answer.payload)
        pipe.execute()


def read(redis: Redis, key: str) -> bytes | None:
    """Return a stored result as Celery's JSON; None if there is none."""
    return cast("bytes | None", redis.get(key))


def probe(redis: Redis, answer: Answer) -> None:
    """Store, read, publish and delete a result, to find out whether the server permits it. Raises redis.RedisError."""
    with redis.pipeline(transaction=False) as pipe:
        pipe.set(answer.key, answer.payload, ex=answer.keep_s or None)
        pipe.get(answer.key)
        pipe.publish(answer.key, answer.payload)
        pipe.delete(answer.key)
        pipe.execute()
