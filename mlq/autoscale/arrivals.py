"""Arrivals: how fast work comes, from what was done, runs and waits. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from mlq.autoscale.last_seen import LastSeen
from mlq.autoscale.observation import Worker
from mlq.autoscale.windows import Totals

_SLOW_S: Final = 45.0
_FAST_S: Final = 10.0
_SIGMAS: Final = 3.0
"""A rise counts as one when Poisson's chance alone would hardly make it."""


class ArrivalMeter:
    """Counts arrivals: nobody tells of them, but each is done, runs or waits."""

    def __init__(self, target_s: float) -> None:
        self._slow_s = max(_SLOW_S, 2 * target_s)
        self._fast_s = max(_FAST_S, target_s / 2)
        self._done: LastSeen[int] = LastSeen()
        self._there: int | None = None
        self._totals = Totals(1, self._slow_s)

    def look(self, at: float, ready: int, in_flight: int, workers: Sequence[Worker]) -> tuple[float, float, float]:
        """Add one look; give the slow rate, the fast one, and the one to believe (tasks a second)."""
        done = sum(max(0, w.done - self._done.get(w.id, 0)) for w in workers if self._knows(w))
        self._done.keep(at, {w.id: w.done for w in workers})
        there, before = ready + in_flight, self._there
        self._there = there
        self._totals.add(at, [0.0 if before is None else done + there - before])
        return self._rates()

    def forget(self) -> None:
        """Begin anew after a time without a look: what came meanwhile came at no known time."""
        self._there = None
        self._totals.clear()

    def _knows(self, worker: Worker) -> bool:
        """Tell whether what a worker has done since the last look is known; the first look at all knows of none."""
        return self._there is not None or worker.id in self._done

    def _rates(self) -> tuple[float, float, float]:
        slow_span, (slow_count,) = self._totals.over(self._slow_s)
        fast_span, (fast_count,) = self._totals.over(self._fast_s)
        if not slow_span:
            return 0.0, 0.0, 0.0
        slow, fast = slow_count / slow_span, fast_count / fast_span
        expected = slow * fast_span
        rises = fast_count > expected + _SIGMAS * math.sqrt(max(expected, 1.0))
        return slow, fast, max(slow, fast) if rises else slow
