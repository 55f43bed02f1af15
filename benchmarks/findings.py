"""Findings: figures of one run, a ratio of two of them round by round, and what was promised."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from benchmarks.scale import Scale
    from benchmarks.stage import Stage

MLQ: Final = "mlq"
PLAIN: Final = "plain"
SPAWNED: Final = "plain, prefork spawned"
"""The plain setup with the pool that Celery 5.7 can spawn; the solo pool of `PLAIN` runs tasks in its own process."""
RQ: Final = "rq"
DRAMATIQ: Final = "dramatiq"
BARE: Final = "bare loop"

Samples = Mapping[str, Sequence[float]]
"""Contender → a figure a round, the same rounds for all."""


@dataclass(frozen=True)
class Target:
    """A bound on the ratio, as engine.md promises it."""

    limit: float
    at_least: bool

    def __str__(self) -> str:
        """Write it as the report shows it."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"

    def holds(self, ratio: float) -> bool:
        """Tell whether it is kept."""
        return ratio >= self.limit if self.at_least else ratio <= self.limit


@dataclass(frozen=True)
class Finding:
    """One row of the report. `over` names the two figures that make its ratio."""

    what: str
    unit: str
    samples: Samples
    over: tuple[str, str] | None = None
    target: Target | None = None

    def figures(self) -> dict[str, float]:
        """Give the median of each contender."""
        return {who: statistics.median(values) for who, values in self.samples.items()}

    def ratios(self) -> list[float]:
        """Divide round by round: what disturbed a round disturbed both sides of it."""
        if self.over is None:
            return []
        above, below = (self.samples[who] for who in self.over)
        return [a / b for a, b in zip(above, below, strict=True)]


Measure = Callable[["Stage", "Scale"], Sequence[Finding]]
"""A file `measure_*.py` has one."""


def at_most(limit: float) -> Target:
    """Promise an upper bound."""
    return Target(limit, at_least=False)


def at_least(limit: float) -> Target:
    """Promise a lower bound."""
    return Target(limit, at_least=True)


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that so large a share stays at or below: one that was measured, never one in between."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
