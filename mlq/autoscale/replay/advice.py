"""Advice for traces whose bursts are over before a worker has started: no policy can meet these in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from mlq.autoscale.policy.policy import Policy, Tuning
from mlq.autoscale.replay.simulation import Replay, Task, World
from mlq.autoscale.replay.simulation import replay as replayed

_GOOD: Final = 0.99
"""Share of tasks in time with which no advice is needed."""

_WORTH: Final = 0.005
"""Increase of the share of tasks in time that makes advice worthwhile."""


def more_at_least(tasks: Sequence[Task], outcome: Replay, tuning: Tuning, world: World) -> str | None:
    """Suggest the smallest --min with which the tasks of a trace start in time, and its cost; None if there is no gain.

    Bursts shorter than the cold start can only be met by workers that run already.
    """
    if outcome.in_time >= _GOOD or tuning.least >= tuning.most:
        return None
    best: tuple[int, Replay] | None = None
    for least in range(tuning.least + 1, tuning.most + 1):
        found = replayed(tasks, Policy(replace(tuning, least=least)), replace(world, first=least))
        if best is None or found.in_time > best[1].in_time + _WORTH:
            best = least, found
        if found.in_time >= _GOOD:
            break
    if best is None or best[1].in_time < outcome.in_time + _WORTH:
        return None
    least, found = best
    more = found.cost / outcome.cost - 1
    return (
        f"some bursts are over before a worker has started ({world.cold_start_s:g} s): with --min {least}, "
        f"{found.in_time:.1%} would have started in time instead of {outcome.in_time:.1%}, for {more:+.0%} worker time"
    )
