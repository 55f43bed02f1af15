"""Arrivals: the arrival rate of tasks, computed from the tasks that were done, run and wait. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mlq.autoscale.policy.last_seen import LastSeen
from mlq.autoscale.policy.observation import WorkerSample
from mlq.autoscale.policy.totals import Totals

_SLOW_S: Final = 45.0
"""Least length of the slow window, in seconds."""

_FAST_S: Final = 10.0
"""Least length of the fast window, in seconds."""

_SIGMAS: Final = 3.0
"""Standard deviations of a Poisson process above which more arrivals count as a rise of the rate."""


@dataclass(frozen=True)
class Rates:
    """Arrival rates in tasks per second."""

    #: Over the slow window.
    slow: float
    #: Over the fast window.
    fast: float
    #: The rate to plan with: the fast one if it shows a rise, else the slow one.
    believed: float


class ArrivalMeter:
    """Counts arrivals. No server reports them, but every task that arrived is done, runs or waits."""

    def __init__(self, target_s: float) -> None:
        self._slow_s = max(_SLOW_S, 2 * target_s)
        self._fast_s = max(_FAST_S, target_s / 2)
        self._done: LastSeen[int] = LastSeen()
        self._there: int | None = None
        self._looked_at = 0.0
        self._totals = Totals(1, self._slow_s)

    def look(self, at: float, ready: int, in_flight: int, workers: Sequence[WorkerSample]) -> Rates | None:
        """Take in one look at the queue and return the rates; None at the first look, since a rate needs two."""
        done = sum(self._done_since(w, at - self._looked_at) for w in workers)
        self._done.keep(at, {w.id: w.done for w in workers})
        there, before = ready + in_flight, self._there
        self._there, self._looked_at = there, at
        self._totals.add(at, [0.0 if before is None else done + there - before])
        return self._rates()

    def forget(self) -> None:
        """Start anew after a time without a look: arrivals in that time have no known time."""
        self._there = None
        self._totals.clear()

    def _done_since(self, worker: WorkerSample, seconds: float) -> float:
        """Return how many tasks a worker has done since the last look, `seconds` ago.

        A worker that is seen for the first time may be new, or may have run for days while its heartbeats were missing.
        So only the share of its work that fits into the time is counted.
        """
        if worker.id in self._done:
            return max(0, worker.done - self._done.get(worker.id, 0))
        return worker.done * min(1.0, seconds / worker.busy_s) if worker.busy_s > 0 else worker.done

    def _rates(self) -> Rates | None:
        slow_span, (slow_count,) = self._totals.over(self._slow_s)
        fast_span, (fast_count,) = self._totals.over(self._fast_s)
        if not slow_span:
            return None
        slow, fast = slow_count / slow_span, fast_count / fast_span
        expected = slow * fast_span
        rises = fast_count > expected + _SIGMAS * math.sqrt(max(expected, 1.0))
        return Rates(slow, fast, max(slow, fast) if rises else slow)
