"""Service: how fast one worker is, computed from the counters of the workers. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mlq.autoscale.policy.last_seen import LastSeen
from mlq.autoscale.policy.observation import WorkerSample
from mlq.autoscale.policy.totals import Totals

_WINDOW_S: Final = 60.0
"""Seconds that the rates are based on, or more, until _TASKS tasks are in the window."""

_TASKS: Final = 20
_KEPT_S: Final = 3600.0
"""Seconds of history that are kept."""

_SHORTEST_S: Final = 1e-6
"""Least seconds of a task: the clock may not have advanced during a short one."""

_UNKNOWN_S: Final = 1.0
"""Assumed seconds of a task until the first has ended."""

_ROWS_AT_ONCE: Final = 64
"""Assumed rows of a full batch until a worker has reported its limit."""


@dataclass(frozen=True)
class ServiceRate:
    """How fast one worker is."""

    #: Tasks per second of a worker that is always busy.
    rate: float
    #: Squared coefficient of variation of the service times.
    squared_cv: float
    #: (base, slope) in seconds: a forward of b rows takes t(b) = base + slope·b. None if the forwards do not show it.
    batch_s: tuple[float, float] | None
    #: Rows of a task, on average.
    rows: float
    #: Rows that every worker takes in one forward.
    largest: int
    #: A task has ended; until then the figures are assumptions.
    is_known: bool


class ServiceMeter:
    """Computes rates from the counters of workers. Each process counts from 0, and ended ones no longer count."""

    def __init__(self) -> None:
        self.mean_s: float | None = None
        """Mean seconds of a task, without running tasks; None until one has ended."""
        self._last: LastSeen[tuple[float, ...]] = LastSeen()
        self._largest = _ROWS_AT_ONCE
        self._totals = Totals(9, _KEPT_S)  # tasks, seconds, rows, and the six sums over forwards

    def look(self, at: float, workers: Sequence[WorkerSample], stuck_s: float) -> ServiceRate:
        """Take in the workers' counters, and return the rates over the last minute, or over the last 20 tasks.

        Tasks that have run for longer than `stuck_s` are left out.
        """
        self._totals.add(at, self._added(at, workers))
        _, (tasks, seconds, rows, *sums) = self._totals.over_at_least(_WINDOW_S, _TASKS)
        self._learn_mean(tasks, seconds, workers)
        self._largest = min((w.max_batch_size for w in workers if w.max_batch_size), default=self._largest)
        mean_s = self.mean_s or _UNKNOWN_S
        # A running task that has already taken twice the mean is counted with its time so far, since leaving it out
        # would make slow workers look fast. A task that is stuck says nothing about the others.
        censored = [w.running_s for w in workers if 2 * mean_s < w.running_s <= stuck_s]
        seconds = max(seconds, _SHORTEST_S * tasks)
        rate = tasks / (seconds + sum(censored)) if tasks else 1 / max(mean_s, *censored, 0.0)
        return ServiceRate(
            rate, _squared_cv(sums), _fit(sums), rows / tasks if tasks else 1.0, self._largest, self.mean_s is not None
        )

    def _learn_mean(self, tasks: float, seconds: float, workers: Sequence[WorkerSample]) -> None:
        """Update the mean from the window; before any task has ended, from all that the workers have ever counted."""
        if not tasks and self.mean_s is None:
            tasks, seconds = sum(w.all_done for w in workers), sum(w.busy_s for w in workers)
        if tasks:
            self.mean_s = seconds / tasks

    def _added(self, at: float, workers: Sequence[WorkerSample]) -> list[float]:
        is_first = self._last.is_empty
        added = [0.0] * 9
        counted = {w.id: (float(w.all_done), w.busy_s, float(w.rows_done), *w.forwards) for w in workers}
        for wid, now in counted.items():
            # At the first look, what a worker has counted so far happened at an unknown time, so it is not added.
            before = self._last.get(wid, now if is_first else (0.0,) * 9)
            added = [m + max(0.0, b - a) for m, a, b in zip(added, before, now, strict=True)]
        self._last.keep(at, counted)
        return added


def _squared_cv(sums: Sequence[float]) -> float:
    n, _, s, _, _, ss = sums
    if n < 2 or not s:  # noqa: PLR2004 (a variance needs two)
        return 1.0
    return min(4.0, max(0.0, n * ss / (s * s) - 1))


def _fit(sums: Sequence[float]) -> tuple[float, float] | None:
    """Fit t(b) = base + slope·b by least squares; return None if all forwards had about the same number of rows.

    The slope is raised by two standard errors: a few forwards with slightly more rows must not suggest that full
    batches cost nothing. It is at most the mean time of a row, at which batches gain nothing.
    """
    n, b, s, bb, bs, ss = sums
    spread = n * bb - b * b
    if n < 5 or spread <= 1e-9 * bb:  # noqa: PLR2004 (a line through fewer is chance)
        return None
    slope = (n * bs - b * s) / spread
    scatter = max(0.0, (n * ss - s * s - slope * slope * spread) / (n - 2))
    slope = min(max(0.0, slope + 2 * math.sqrt(scatter / spread)), s / b)
    return (s - slope * b) / n, slope
