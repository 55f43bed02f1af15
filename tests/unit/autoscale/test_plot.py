"""The plot of a replay: arrivals, workers, and the waits of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlq.autoscale.policy.policy import Policy, Tuning
from mlq.autoscale.replay import plot
from mlq.autoscale.replay.simulation import Replay, Task, World, replay
from mlq.errors import UsageError

BURST = [*(Task(float(at), 0.5) for at in range(600)), *(Task(300 + n / 10, 0.5) for n in range(300))]
TASKS = sorted(BURST, key=lambda task: task.at)


@pytest.fixture(scope="module")
def outcome() -> Replay:
    """Return ten minutes with a burst in the middle, at which no worker ran."""
    return replay(TASKS, Policy(Tuning()), World())


def test_each_wait_is_drawn_at_the_arrival_of_its_task(outcome: Replay) -> None:
    """Not at the beginning of its run: users look for the burst."""
    assert len(outcome.arrivals) == len(outcome.waits) > 0
    late = [at for at, wait in plot.waits(outcome, 0.99) if wait > 5]
    assert late
    assert all(300 <= at <= 360 for at in late)
    assert max(wait for _, wait in plot.waits(outcome, 0.5)) > outcome.quantile(0.5)


def test_the_plot_shows_arrivals_workers_and_waits(outcome: Replay, tmp_path: Path) -> None:
    """It also shows the target of the waits."""
    figures = pytest.importorskip("matplotlib.figure", reason="the extra mlq-cli[plot] draws")
    figure: Any = figures.Figure()
    plot._fill(figure, TASKS, outcome)
    assert [axes.get_ylabel() for axes in figure.axes] == ["arrivals/s", "workers", "wait, s"]
    p50, p99, target = figure.axes[2].lines
    assert max(p99.get_ydata()) == pytest.approx(max(wait for _, wait in plot.waits(outcome, 0.99)))
    assert max(p50.get_ydata()) <= max(p99.get_ydata())
    assert set(target.get_ydata()) == {outcome.target_s}
    plot.draw(TASKS, outcome, tmp_path / "day.png")
    assert (tmp_path / "day.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["day.nonsense", "nowhere/day.png"])
def test_a_plot_that_cannot_be_written_is_a_users_error(outcome: Replay, tmp_path: Path, name: str) -> None:
    """It is no internal error of mlq."""
    pytest.importorskip("matplotlib.figure", reason="the extra mlq-cli[plot] draws")
    with pytest.raises(UsageError, match=f"cannot write --plot .*{name}"):
        plot.draw(TASKS, outcome, tmp_path / name)
