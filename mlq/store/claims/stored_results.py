"""Stored answers: a result is written by itself, or handed to a script as words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis import Redis

    from mlq.broker.script import Word
    from mlq.protocol.result import Answer


def store(redis: Redis, answer: Answer) -> None:
    """Store a result by itself, where results are elsewhere than claims."""
    with redis.pipeline(transaction=False) as pipe:
        pipe.set(answer.key, answer.payload, ex=answer.keep_s or None)
        pipe.publish(answer.key, answer.payload)
        pipe.execute()


def words(redis: Redis, answer: Answer | None) -> tuple[Word, ...]:
    """Give the six words that answer.lua reads."""
    here = database(redis)
    if answer is None:
        return (here, here, "", "", 0, "")
    there = here if answer.db is None else answer.db
    return (here, there, answer.key, answer.payload, answer.keep_s, answer.filed)


def database(redis: Redis) -> int:
    """Tell which database this client's connections select."""
    return int(redis.connection_pool.connection_kwargs.get("db") or 0)
