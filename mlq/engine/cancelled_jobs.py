"""Cancelled jobs: their rows are not computed any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from redis.exceptions import RedisError

from mlq.engine.micro_batches import ModelRequest
from mlq.protocol import keys
from mlq.protocol.job_result import JobChunkRef

if TYPE_CHECKING:
    from redis import Redis

_EVERY_S: Final = 0.1
"""Seconds between two reads of the list; rows of a cancelled job may be computed for this long."""


class CancelledJobs:
    """The cancelled jobs, asked for each chunk and before each forward; reads their list in Redis now and then."""

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._jobs: frozenset[str] = frozenset()
        self._look_at = 0.0

    def took(self, rows: ModelRequest) -> bool:
        """Return whether the rows of a message belong to a cancelled job; False while Redis is away."""
        try:
            return self.holds(rows.message.place)
        except (RedisError, OSError):
            return False

    def holds(self, place: JobChunkRef | None) -> bool:
        """Return whether the job of a chunk was cancelled. Raises redis.RedisError."""
        if place is None:
            return False
        if self._clock() >= self._look_at:
            found = cast("list[bytes]", self._redis.zrange(keys.CANCELLED, 0, -1))
            self._jobs = frozenset(job.decode() for job in found)
            self._look_at = self._clock() + _EVERY_S
        return place.job in self._jobs
