"""Stored results: a task's result, written by a command of its own or passed to a script as arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from redis import Redis

    from mlq.broker.script import Word
    from mlq.protocol.result import Answer


def store(redis: Redis, answer: Answer) -> None:
    """Store and publish a result where results and claims are on different servers."""
    with redis.pipeline(transaction=False) as pipe:
        pipe.set(answer.key, answer.payload, ex=answer.keep_s or None)
        pipe.publish(answer.key, answer.payload)
        pipe.execute()


def probe(redis: Redis, answer: Answer) -> None:
    """Store, read, publish and delete a result, to find out whether the server permits it. Raises redis.RedisError."""
    with redis.pipeline(transaction=False) as pipe:
        pipe.set(answer.key, answer.payload, ex=answer.keep_s or None)
        pipe.get(answer.key)
        pipe.publish(answer.key, answer.payload)
        pipe.delete(answer.key)
        pipe.execute()


def read(redis: Redis, key: str) -> bytes | None:
    """Return a stored result as Celery's JSON; None if there is none."""
    return cast("bytes | None", redis.get(key))


def words(redis: Redis, answer: Answer | None) -> tuple[Word, ...]:
    """Return the six arguments that answer.lua reads."""
    here = database(redis)
    if answer is None:
        return (here, here, "", "", 0, "")
    there = here if answer.db is None else answer.db
    return (here, there, answer.key, answer.payload, answer.keep_s, answer.filed)


def database(redis: Redis) -> int:
    """Return the number of the database that the client's connections select."""
    return int(redis.connection_pool.connection_kwargs.get("db") or 0)
