"""Clock: the time of the server, to which every host's deadlines and ages refer. Hosts' own clocks may be wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

LARGEST_SKEW_S: Final = 1.0
"""A host's clock that is off by more is worth a word."""

_ASK_EVERY_S: Final = 30.0
"""Two clocks of a host drift apart by milliseconds meanwhile; after a failover the server may be another host."""


class ServerClock:
    """Knows the server's time without asking each time: it asks now and then, and counts on with a monotonic clock.

    So neither a wrong clock of this host matters nor one that is set meanwhile.
    """

    def __init__(
        self, redis: Redis, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = redis
        self._wall = wall
        self._monotonic = monotonic
        self._ahead_s: float | None = None
        self._ask_at = 0.0

    def refresh(self) -> None:
        """Ask the server, if that is due. Raises redis.RedisError."""
        before = self._monotonic()
        if before < self._ask_at:
            return
        now = server_time(self._redis)
        after = self._monotonic()
        # The reply was written at some time between the two.
        self._ahead_s = now - (before + after) / 2
        self._ask_at = after + _ASK_EVERY_S

    def now(self) -> float:
        """Give the seconds since 1970 by the server; by this host while the server was never asked."""
        return self._wall() if self._ahead_s is None else self._monotonic() + self._ahead_s

    @property
    def skew_s(self) -> float:
        """Tell how far this host's clock is ahead of the server's; negative where it is behind."""
        return self._wall() - self.now()


def server_time(redis: Redis) -> float:
    """Ask for the server's time in seconds since 1970. Raises redis.RedisError."""
    seconds, microseconds = redis.time()
    return float(seconds + microseconds / 1e6)


def describe_skew(seconds: float) -> str | None:
    """Say how wrong a host's clock is; None if it is right by a second."""
    if abs(seconds) <= LARGEST_SKEW_S:
        return None
    return f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} the server's clock"
