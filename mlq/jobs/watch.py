"""Watching: what a person is told while a job runs: how far it is, and when nobody serves its queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from mlq.protocol.priorities import queue_keys
from mlq.store.workers import heartbeats

if TYPE_CHECKING:
    from redis import Redis


@dataclass(frozen=True)
class Surroundings:
    """What is around a job: messages that wait in its queue, workers that serve it."""

    waiting: int
    workers: int


def surroundings(store: Redis, queue: str) -> Surroundings | None:
    """Look at a queue and its workers; None while Redis does not say."""
    try:
        with store.pipeline(transaction=False) as pipe:
            for key in queue_keys(queue):
                pipe.llen(key)
            waiting = sum(pipe.execute())
        return Surroundings(waiting, len(heartbeats.serving(heartbeats.read(store), queue)))
    except (RedisError, OSError):
        return None


class Watching:
    """Passes news on. That nobody serves the queue is said once each time that the last worker is gone."""

    def __init__(
        self,
        store: Redis,
        queue: str,
        advance: Callable[[int, int], None],
        say: Callable[[str], None],
        nobody: Callable[[str], None],
    ) -> None:
        self._store = store
        self._queue = queue
        self._nobody = nobody
        self._was_served = True
        self.advance = advance
        self.say = say

    def unserved(self) -> None:
        """Nothing has come for a while: look whether anybody serves the queue."""
        seen = surroundings(self._store, self._queue)
        is_served = seen is None or seen.workers > 0
        if self._was_served and not is_served:
            self._nobody(self._queue)
        self._was_served = is_served
