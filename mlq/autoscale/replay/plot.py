"""The plot of a replay: arrivals, workers and waits over time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlq.autoscale.replay.simulation import Replay, Task, quantile
from mlq.errors import NoPlotting, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BIN_S: Final = 30.0


def draw(tasks: Sequence[Task], outcome: Replay, path: Path) -> None:
    """Write the plot to a file.

    Raises NoPlotting if matplotlib is not installed, UsageError if the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise NoPlotting(path=path) from None
    figure = Figure(figsize=(10, 7), layout="constrained")
    _fill(figure, tasks, outcome)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as exc:  # a missing directory, or a format that matplotlib does not write
        raise UsageError(what=f"cannot write --plot {path}: {exc}", fix="for example `--plot day.png`") from None


def _fill(figure: Figure, tasks: Sequence[Task], outcome: Replay) -> None:
    """Draw arrivals, workers and waits below each other, on one time axis."""
    top, middle, bottom = figure.subplots(3, sharex=True)
    bins = Counter(int(task.at // _BIN_S) for task in tasks)
    last = max(bins, default=0)
    top.step([b * _BIN_S / 60 for b in range(last + 1)], [bins[b] / _BIN_S for b in range(last + 1)], where="post")
    top.set_ylabel("arrivals/s")
    middle.step([at / 60 for at, _, _ in outcome.history], [n for _, n, _ in outcome.history], where="post")
    middle.set_ylabel("workers")
    for share in (0.5, 0.99):
        found = waits(outcome, share)
        bottom.plot([at / 60 for at, _ in found], [wait for _, wait in found], ".-", label=f"p{100 * share:g}")
    bottom.axhline(outcome.target_s, color="grey", linestyle="--", label="target")
    bottom.legend(loc="upper right")
    bottom.set_ylabel("wait, s")
    bottom.set_xlabel("minutes")


def waits(outcome: Replay, share: float) -> list[tuple[float, float]]:
    """Return (time, wait) in seconds for each bin: a share of the tasks that arrived in it waited at most that long."""
    bins: defaultdict[int, list[float]] = defaultdict(list)
    for came, wait in zip(outcome.arrivals, outcome.waits, strict=True):
        bins[int(came // _BIN_S)].append(wait)
    return [((n + 0.5) * _BIN_S, quantile(bins[n], share)) for n in sorted(bins)]
