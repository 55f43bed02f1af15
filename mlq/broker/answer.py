"""Answer: what a script stores of a task, and where its client looks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis import Redis

    from mlq.broker.script import Word


@dataclass(frozen=True)
class Answer:
    """One value of Celery's result store, published on the channel of the same name; or the end of a job's chunk.

    `filed` is what filing.lua is told of a chunk. `db` is another database of the broker's server; None means the
    broker's own. 0 seconds keep it for ever.
    """

    key: str
    payload: bytes
    keep_s: int
    db: int | None = None
    filed: str = ""


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
