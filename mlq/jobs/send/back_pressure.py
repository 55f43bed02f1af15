"""Back pressure: nothing is sent to a broker that is nearly full, until workers and collectors have made room."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mlq.broker.script import memory_use

if TYPE_CHECKING:
    from redis import Redis

HIGH: Final = 0.9
"""Share of maxmemory above which nothing is sent; workers and supervisors need the rest."""

_EVERY_S: Final = 0.25


class Pressure:
    """Checks the broker's memory regularly. A server without a limit is never full."""

    def __init__(self, store: Redis, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._say = say
        self._clock = clock
        self._look_at = 0.0
        self._is_high = False

    def is_high(self) -> bool:
        """Return True if nothing should be sent now. Raises redis.RedisError."""
        if self._clock() >= self._look_at:
            self._become(high=self._is_nearly_full())
        return self._is_high

    def _is_nearly_full(self) -> bool:
        memory = memory_use(self._store)
        if memory is None:  # no permission to know: then only a refusal tells, and that for a moment
            return False
        used, limit = memory
        return bool(limit) and used > HIGH * limit

    def wait(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait until there is room. Raises redis.RedisError."""
        while self.is_high():
            sleep(_EVERY_S)

    def refused(self) -> None:
        """Record that the server has refused a message because its memory is full."""
        self._become(high=True)

    def _become(self, *, high: bool) -> None:
        if high and not self._is_high:
            self._say("the broker's memory is nearly full; waiting until there is room, nothing is dropped")
        elif self._is_high and not high:
            self._say("the broker has room again")
        self._is_high = high
        self._look_at = self._clock() + _EVERY_S
