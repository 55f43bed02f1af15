"""The text of decisions."""

from __future__ import annotations

from mlq.autoscale.policy.policy import Decision
from mlq.terminal import decisions

DECIDED = Decision(
    0.0, 12, 3, 3, 1, 5, "start", "1234 tasks will wait when a new worker is ready", start=1, rate=4.25,
    service_rate=1.9, capacity=12.5, cold_start_s=31.4, backlog=1234.5, base=3, need=5, keep=4,
)  # fmt: skip


def test_a_decision_is_explained_with_every_figure_that_led_to_it() -> None:
    """The text has words instead of the symbols of formulas."""
    said, figures = decisions.at_length(DECIDED).splitlines()
    assert said == decisions.line(DECIDED)
    assert figures.strip() == (
        "arrivals 4.25/s, a worker does 1.9/s, can do 12.5/s, a start takes 31.4 s, backlog 1234, base 3, need 5, "
        "keep 4"
    )


def test_an_unknown_figure_is_not_shown_as_zero() -> None:
    """The queue could not be read, or the plain rule does not use the figure."""
    blind = Decision(0.0, None, None, 0, 0, 0, "hold", "the queue cannot be seen: as before")
    expected = "arrivals -, a worker does -, can do -, a start takes -, backlog -, base -, need -, keep -"
    assert decisions.figures(blind) == expected
