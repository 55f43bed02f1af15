"""Plot: a replayed trace as a picture: arrivals, workers, waits over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mlq.autoscale.simulation import Outcome, Task
from mlq.errors import NoPlotting

_BIN_S: Final = 30.0


def draw(tasks: Sequence[Task], outcome: Outcome, path: Path) -> None:
    """Write the picture.

    Raises NoPlotting where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise NoPlotting(path=path) from None
    figure = Figure(figsize=(10, 7), layout="constrained")
    top, middle, bottom = figure.subplots(3, sharex=True)
    bins = Counter(int(task.at // _BIN_S) for task in tasks)
    last = max(bins, default=0)
    top.step([b * _BIN_S / 60 for b in range(last + 1)], [bins[b] / _BIN_S for b in range(last + 1)], where="post")
    top.set_ylabel("arrivals/s")
    minutes = [at / 60 for at, _, _ in outcome.history]
    middle.step(minutes, [workers for _, workers, _ in outcome.history], where="post")
    middle.set_ylabel("workers")
    bottom.step(minutes, [waiting for _, _, waiting in outcome.history], where="post")
    bottom.set_ylabel("waiting")
    bottom.set_xlabel("minutes")
    figure.savefig(path)
