"""Overshoot: how far beyond its limit a full server's memory may go for the sake of answers."""

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
"""Answers may take a tenth of the limit beyond it, or so much if that is more: docs/brokers.md promises it."""

_EVERY_S: Final = 1.0

log = logging.getLogger("mlq.answering")


class MemoryAllowance:
    """Looks at the server's memory now and then.

    Workers write to a full server, or nobody would make room; but answers may be larger than the messages that they
    end, and a server that grows for ever is killed in the end. So beyond a bound they wait where they are.
    """

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._look_at = 0.0
        self._full_at: int | None = None
        self.is_spent = False

    def look(self) -> None:
        """Look, if it is time to. Raises redis.RedisError."""
        if self._clock() < self._look_at:
            return
        self._look_at = self._clock() + _EVERY_S
        try:
            memory: Any = self._redis.info("memory")
        except ResponseError:  # no permission to know; then nothing is bounded
            return
        self._judge(int(memory["used_memory"]), int(memory.get("maxmemory") or 0))

    def _judge(self, used: int, limit: int) -> None:
        """Count from where it was when it was first seen full: an operator may have lowered the limit since."""
        if not limit or used <= limit:
            self._full_at = None
        elif self._full_at is None:
            self._full_at = used
        was_spent = self.is_spent
        self.is_spent = self._full_at is not None and used > self._full_at + max(SHARE * limit, LEAST_BYTES)
        if self.is_spent and not was_spent:
            log.warning("the broker's memory is over its limit by all that answers may take: they wait for room")
        if was_spent and not self.is_spent:
            log.info("the broker has room again")
