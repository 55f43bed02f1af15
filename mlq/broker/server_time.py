"""Server time: the clock for all deadlines and ages on every host, because the hosts' own clocks may be wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

LARGEST_SKEW_S: Final = 1.0
"""Difference in seconds from which a wrong clock of a host is reported."""

_ASK_EVERY_S: Final = 30.0
"""Clocks drift by milliseconds in this time. After a failover the server may be another host with another clock."""


class ServerClock:
    """Knows the server's time: asks the server every 30 s, and adds the elapsed time of a monotonic clock.

    A wrong clock of this host, or a change of it, has no effect.
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
        """Ask the server for its time if that is due. Raises redis.RedisError."""
        before = self._monotonic()
        if before < self._ask_at:
            return
        now = server_time(self._redis)
        after = self._monotonic()
        # The server wrote its reply at some time between the two.
        self._ahead_s = now - (before + after) / 2
        self._ask_at = after + _ASK_EVERY_S

    def now(self) -> float:
        """Return the seconds since 1970 by the server's clock; by this host's clock before the first refresh."""
        return self._wall() if self._ahead_s is None else self._monotonic() + self._ahead_s

    @property
    def skew_s(self) -> float:
        """Seconds that this host's clock is ahead of the server's; negative if it is behind."""
        return self._wall() - self.now()


def server_time(redis: Redis) -> float:
    """Return the server's time in seconds since 1970. Raises redis.RedisError."""
    seconds, microseconds = redis.time()
    return float(seconds + microseconds / 1e6)


def describe_skew(seconds: float) -> str | None:
    """Describe how wrong a host's clock is; None if the difference is at most a second."""
    if abs(seconds) <= LARGEST_SKEW_S:
        return None
    return f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} the server's clock"
