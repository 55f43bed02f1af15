"""Holding: how long a worker is kept after it was last needed. Pure."""

from __future__ import annotations

import math


class Holding:
    """Remembers when each number of workers was last needed for the rate, and when for a backlog."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._for_rate = [-math.inf] * most
        self._for_backlog = [-math.inf] * most

    def needed(self, at: float, base: int, need: int) -> None:
        """Say how many are needed now for the rate, and how many in all."""
        self._for_rate[:base] = [at] * min(base, self._most)
        self._for_backlog[:need] = [at] * min(need, self._most)

    def keep(self, at: float, rate_s: float, backlog_s: float) -> int:
        """Give the highest number that was needed within so many seconds, for the one reason or the other."""
        held = [
            k + 1
            for k in range(self._most)
            if at - self._for_rate[k] <= rate_s or at - self._for_backlog[k] <= backlog_s
        ]
        return max(held, default=0)
