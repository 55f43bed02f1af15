"""The comparison of two versions: a ratio per round, a verdict per figure, and both as a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from benchmarks.findings import Finding, Target
from benchmarks.report import number

BASE: Final = "base"
OTHER: Final = "other"
_FEWEST_ROUNDS: Final = 2
"""One ratio has no spread, so it gets no verdict."""


class Verdict(Enum):
    """Whether the other version is worse than the base."""

    NO_WORSE = "no worse than its own spread"
    WORSE = "worse"
    UNDECIDED = "needs more rounds"


@dataclass(frozen=True)
class Comparison:
    """One figure of both versions, round by round."""

    what: str
    unit: str
    samples: Mapping[str, Sequence[float]]
    """Version → its value in each round."""
    target: Target
    """The ratio of two equal versions, and the direction that is better: `at_least(1)` or `at_most(1)`."""

    @property
    def finding(self) -> Finding:
        """The medians, and the ratio other ÷ base of each round."""
        return Finding(self.what, self.unit, self.samples, (OTHER, BASE), self.target)

    @property
    def verdict(self) -> Verdict:
        """`WORSE` if every round says so: the range of the ratios does not reach the ratio of two equal versions."""
        ratios = self.finding.ratios()
        if len(ratios) < _FEWEST_ROUNDS:
            return Verdict.UNDECIDED
        return Verdict.NO_WORSE if any(self.target.holds(ratio) for ratio in ratios) else Verdict.WORSE


def table(comparisons: Sequence[Comparison]) -> str:
    """Return one line per figure, aligned for a terminal and readable as Markdown."""
    head = ["figure", BASE, OTHER, f"{OTHER} ÷ {BASE}", "range over rounds", "better", "verdict"]
    rows = [head, *(_cells(comparison) for comparison in comparisons)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    rows.insert(1, ["-" * width for width in widths])
    lines = (" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"| {line} |\n" for line in lines)


def as_json(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return everything that the table shows, and the values of each round."""
    return [_entry(comparison) for comparison in comparisons]


def _cells(comparison: Comparison) -> list[str]:
    figures, ratios = comparison.finding.figures(), comparison.finding.ratios()
    return [
        f"{comparison.what}, {comparison.unit}",
        number(figures[BASE]),
        number(figures[OTHER]),
        f"{statistics.median(ratios):.3f}",
        f"{min(ratios):.3f} to {max(ratios):.3f}",
        _better(comparison.target),
        comparison.verdict.value,
    ]


def _entry(comparison: Comparison) -> dict[str, Any]:
    figures, ratios = comparison.finding.figures(), comparison.finding.ratios()
    return {
        "figure": comparison.what,
        "unit": comparison.unit,
        "better": _better(comparison.target),
        "median": figures,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "rounds": {version: list(values) for version, values in comparison.samples.items()},
        "verdict": comparison.verdict.value,
    }


def _better(target: Target) -> str:
    return "higher" if target.at_least else "lower"
