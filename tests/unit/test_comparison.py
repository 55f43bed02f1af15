"""Two versions beside each other: when a version counts as worse, and what is printed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.comparison import BASE, OTHER, Comparison, Verdict, as_json, table
from benchmarks.findings import Target, at_least, at_most

RATE, COST = at_least(1), at_most(1)


def compared(target: Target, *ratios: float) -> Comparison:
    """Build a figure with these ratios from a base that became twice as slow after its first round."""
    base = [200.0, *[100.0] * (len(ratios) - 1)]
    other = [value * ratio for value, ratio in zip(base, ratios, strict=True)]
    return Comparison("figure", "1/s", {BASE: base, OTHER: other}, target)


@pytest.mark.parametrize(
    ("target", "ratios", "verdict"),
    [
        (RATE, [0.95, 0.97, 0.99], Verdict.WORSE),
        (RATE, [0.95, 0.97, 1.01], Verdict.NO_WORSE),
        (RATE, [1.2, 1.3, 1.4], Verdict.NO_WORSE),
        (RATE, [1.0, 1.0, 1.0], Verdict.NO_WORSE),
        (COST, [1.01, 1.03, 1.05], Verdict.WORSE),
        (COST, [0.99, 1.03, 1.05], Verdict.NO_WORSE),
        (COST, [0.7, 0.8, 0.9], Verdict.NO_WORSE),
        (RATE, [0.5], Verdict.UNDECIDED),
    ],
)
def test_a_version_is_worse_only_if_every_round_says_so(
    target: Target, ratios: Sequence[float], verdict: Verdict
) -> None:
    """For a cost a higher ratio is worse, and one round proves nothing."""
    assert compared(target, *ratios).verdict is verdict


def test_a_machine_that_slows_down_changes_no_ratio() -> None:
    """The ratio is taken in each round: a ratio of the two medians would compare different times."""
    (entry,) = as_json([compared(RATE, 0.9, 0.9, 0.9, 0.9)])
    assert entry["ratio"] == pytest.approx(0.9)
    assert entry["rounds"][BASE] == [200, 100, 100, 100]


def test_the_table_names_the_direction_that_is_better() -> None:
    """A ratio of 1.05 alone does not tell whether it is good."""
    slower = Comparison("figure", "1/s", {BASE: [100, 100, 100], OTHER: [104, 105, 106]}, COST)
    *_, line = table([slower]).splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["figure, 1/s", "100", "105", "1.050", "1.040 to 1.060", "lower", "worse"]
