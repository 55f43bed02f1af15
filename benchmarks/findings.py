"""Findings: figures of one run, the ratio of two of them in each round, and the promised bound."""

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
"""The plain setup with a spawned pool, from Celery 5.7 on; the solo pool of `PLAIN` runs tasks in its own process."""
RQ: Final = "rq"
DRAMATIQ: Final = "dramatiq"
BARE: Final = "bare loop"

Samples = Mapping[str, Sequence[float]]
"""Contender → one figure per round, the same rounds for all."""


@dataclass(frozen=True)
class Target:
    """A promised bound of the ratio."""

    limit: float
    at_least: bool

    def __str__(self) -> str:
        """Return it as the report shows it."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"

    def holds(self, ratio: float) -> bool:
        """Return whether a ratio keeps the bound."""
        return ratio >= self.limit if self.at_least else ratio <= self.limit


@dataclass(frozen=True)
class Finding:
    """One row of the report. `over` names the two figures of its ratio."""

    what: str
    unit: str
    samples: Samples
    over: tuple[str, str] | None = None
    target: Target | None = None

    def figures(self) -> dict[str, float]:
        """Return the median of each contender."""
        return {who: statistics.median(values) for who, values in self.samples.items()}

    def ratios(self) -> list[float]:
        """Divide within each round, because a disturbance of a round affects both figures."""
        if self.over is None:
            return []
        above, below = (self.samples[who] for who in self.over)
        return [a / b for a, b in zip(above, below, strict=True)]


Measure = Callable[["Stage", "Scale"], Sequence[Finding]]
"""A function that measures; each file `measure_*.py` has one."""


def at_most(limit: float) -> Target:
    """Return an upper bound."""
    return Target(limit, at_least=False)


def at_least(limit: float) -> Target:
    """Return a lower bound."""
    return Target(limit, at_least=True)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed: a measured one, never an interpolated one."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
