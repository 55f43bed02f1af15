"""Cancelling: which jobs nobody waits for any more, as of a moment ago."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from redis.exceptions import RedisError

from mlq.engine.batchable import ModelRequest
from mlq.protocol import keys
from mlq.protocol.job_result import JobChunkRef

if TYPE_CHECKING:
    from redis import Redis

_EVERY_S: Final = 0.1
"""How often, at most, Redis is asked; a cancelled job's rows may be computed for so long."""


class CancelledJobs:
    """The cancelled jobs. Asked for every chunk and before every forward; looks for itself now and then."""

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._jobs: frozenset[str] = frozenset()
        self._look_at = 0.0

    def took(self, rows: ModelRequest) -> bool:
        """Tell whether a message's rows are of a cancelled job. A Redis that is away has cancelled nothing."""
        try:
            return self.holds(rows.message.place)
        except (RedisError, OSError):
            return False

    def holds(self, place: JobChunkRef | None) -> bool:
        """Tell whether a chunk's job was cancelled. Raises redis.RedisError."""
        if place is None:
            return False
        if self._clock() >= self._look_at:
            found = cast("list[bytes]", self._redis.zrange(keys.CANCELLED, 0, -1))
            self._jobs = frozenset(job.decode() for job in found)
            self._look_at = self._clock() + _EVERY_S
        return place.job in self._jobs
