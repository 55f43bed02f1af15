"""Service: how fast a worker is, from what the workers counted. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mlq.autoscale.policy.last_seen import LastSeen
from mlq.autoscale.policy.observation import WorkerSample
from mlq.autoscale.policy.windows import Totals

_WINDOW_S: Final = 60.0
_TASKS: Final = 20
_KEPT_S: Final = 3600.0
_SHORTEST_S: Final = 1e-6
"""What a task takes at least: a clock may not have moved meanwhile."""

_UNKNOWN_S: Final = 1.0
"""What a task is taken to need before the first has ended."""

_ROWS_AT_ONCE: Final = 64
"""As long as no worker has told its own limit."""


@dataclass(frozen=True)
class ServiceRate:
    """`rate`: tasks a second of one worker that works all the time. `squared_cv`: of the times of tasks.

    Both are what one starts from until a task has ended (`is_known`). `batch_s`: t(b) = base + slope·b seconds of a
    forward of b rows, None where forwards do not tell; `rows` in a task. `largest`: rows that every worker takes in one
    forward.
    """

    rate: float
    squared_cv: float
    batch_s: tuple[float, float] | None
    rows: float
    largest: int
    is_known: bool


class ServiceMeter:
    """Turns workers' counters into rates; each incarnation counts from 0, and one that is gone counts no more."""

    def __init__(self) -> None:
        self.mean_s: float | None = None
        """What a task took in the mean, as far as it is known; without those that still run."""
        self._last: LastSeen[tuple[float, ...]] = LastSeen()
        self._largest = _ROWS_AT_ONCE
        self._totals = Totals(9, _KEPT_S)  # tasks, seconds, rows, and the six sums over forwards

    def look(self, at: float, workers: Sequence[WorkerSample], stuck_s: float) -> ServiceRate:
        """Add one look, and judge by the last minute, or as far back as twenty tasks."""
        self._totals.add(at, self._added(at, workers))
        _, (tasks, seconds, rows, *sums) = self._totals.over_at_least(_WINDOW_S, _TASKS)
        self._learn_mean(tasks, seconds, workers)
        self._largest = min((w.max_batch_size for w in workers if w.max_batch_size), default=self._largest)
        mean_s = self.mean_s or _UNKNOWN_S
        # A task that has run for longer than two of its kind has a time that is known to be longer yet: leaving it
        # out would make slow workers look fast. One that hangs says nothing about the others.
        censored = [w.running_s for w in workers if 2 * mean_s < w.running_s <= stuck_s]
        seconds = max(seconds, _SHORTEST_S * tasks)
        rate = tasks / (seconds + sum(censored)) if tasks else 1 / max(mean_s, *censored, 0.0)
        return ServiceRate(
            rate, _squared_cv(sums), _fit(sums), rows / tasks if tasks else 1.0, self._largest, self.mean_s is not None
        )

    def _learn_mean(self, tasks: float, seconds: float, workers: Sequence[WorkerSample]) -> None:
        """Take it from the window, and before anything has ended in one, from the lives of those that are here."""
        if not tasks and self.mean_s is None:
            tasks, seconds = sum(w.all_done for w in workers), sum(w.busy_s for w in workers)
        if tasks:
            self.mean_s = seconds / tasks

    def _added(self, at: float, workers: Sequence[WorkerSample]) -> list[float]:
        is_first = self._last.is_empty
        added = [0.0] * 9
        counted = {w.id: (float(w.all_done), w.busy_s, float(w.rows_done), *w.forwards) for w in workers}
        for wid, now in counted.items():
            # What was counted before anybody looked says nothing of when it was.
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
    """Fit t(b) = base + slope·b by least squares; None where all forwards had the same rows.

    Of the lines that fit it is the steepest that the scatter allows (two standard errors): a few forwards of slightly
    more rows must not promise that full batches cost nothing. None is steeper than rows that gain nothing together.
    """
    n, b, s, bb, bs, ss = sums
    spread = n * bb - b * b
    if n < 5 or spread <= 1e-9 * bb:  # noqa: PLR2004 (a line through fewer is chance)
        return None
    slope = (n * bs - b * s) / spread
    scatter = max(0.0, (n * ss - s * s - slope * slope * spread) / (n - 2))
    slope = min(max(0.0, slope + 2 * math.sqrt(scatter / spread)), s / b)
    return (s - slope * b) / n, slope
