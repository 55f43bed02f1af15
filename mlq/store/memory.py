"""Memory allowance: how far results may take a full server's memory beyond its limit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from redis import Redis

SHARE: Final = 0.1
LEAST_BYTES: Final = 16 * 1024 * 1024
"""Results may exceed the limit by a tenth of it, or by LEAST_BYTES if that is more, as docs/brokers.md promises."""

_EVERY_S: Final = 1.0

log = logging.getLogger("mlq.answering")


class MemoryAllowance:
    """Checks the server's memory regularly.

    Workers must write to a full server, because only completed messages make room. But results may be larger than their
    messages, and a server that keeps growing is killed. So beyond an allowance results wait in the worker.
    """

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._look_at = 0.0
        self._full_at: int | None = None
        self.is_spent = False

    def look(self) -> None:
        """Check the server's memory if the last check is more than a second ago. Raises redis.RedisError."""
        if self._clock() < self._look_at:
            return
        self._look_at = self._clock() + _EVERY_S
        try:
            memory: Any = self._redis.info("memory")
        except ResponseError:  # The user may not call INFO, so no limit can be applied.
            return
        self._judge(int(memory["used_memory"]), int(memory.get("maxmemory") or 0))

    def _judge(self, used: int, limit: int) -> None:
        """Measure from the usage when the server was first seen full, because an operator may lower the limit later."""
        if not limit or used <= limit:
            self._full_at = None
        elif self._full_at is None:
            self._full_at = used
        was_spent = self.is_spent
        self.is_spent = self._full_at is not None and used > self._full_at + max(SHARE * limit, LEAST_BYTES)
        if self.is_spent and not was_spent:
            log.warning(
                "the broker's memory exceeds its limit by the whole allowance for results: results wait for room",
                extra={"action": "memory_exhausted"},
            )
        if was_spent and not self.is_spent:
            log.info("the broker has room for results again", extra={"action": "memory_available"})
