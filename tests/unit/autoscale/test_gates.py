"""The gates that the shipped defaults must pass, replayed through the very policy that runs."""

from __future__ import annotations

from statistics import mean

import numpy as np
import pytest

from benchmarks.autoscale import workloads
from benchmarks.autoscale.__main__ import POLICIES
from benchmarks.autoscale.workloads import ramp, steady, step
from mlq.autoscale.policy.capacity import long_wait_probability, wait_probability
from mlq.autoscale.policy.observation import Observation
from mlq.autoscale.policy.policy import Decision, Policy, Tuning
from mlq.autoscale.replay.simulation import Replay, Task, World, replay

SLACK = 1.05
"""Fewer seeds than the benchmark has, so a little more room."""


def played(name: str, seeds: int, world: World | None = None) -> list[Replay]:
    """Replay a workload."""
    make = getattr(workloads, name)
    return [replay(make(seed), Policy(Tuning()), world or World()) for seed in range(seeds)]


@pytest.mark.parametrize(
    ("workload", "cost", "in_time", "actions"),
    [("steady", 12_100, 0.995, 15), ("step", 12_000, 0.915, 25), ("ramp", 17_300, 0.987, 20)],
)
def test_work_is_in_time_at_the_cost_and_with_the_calm_that_was_promised(
    workload: str, cost: float, in_time: float, actions: float
) -> None:
    """Worker-seconds, the share that waits no longer than the target, starts and stops."""
    outcomes = played(workload, 2)
    assert mean(o.cost for o in outcomes) <= SLACK * cost
    assert 1 - mean(o.in_time for o in outcomes) <= SLACK * (1 - in_time)
    assert mean(o.starts + o.stops for o in outcomes) <= SLACK * actions


@pytest.mark.parametrize("workload", ["batched", "rising"])
def test_rows_that_share_forwards_need_no_more_than_the_cheapest_static_fleet(workload: str) -> None:
    """Twenty milliseconds and one a row: one worker is in time, whatever its small batches suggest.

    When the rate rises its batches grow, and it has been fast enough all along.
    """
    (outcome,) = played(workload, 1, World(batch=(0.020, 0.001, 64)))
    assert outcome.cost <= 1.3 * 1200
    assert outcome.in_time >= 0.99
    assert outcome.starts + outcome.stops <= 10


def test_work_waits_less_and_costs_less_than_with_what_others_do_by_default() -> None:
    """Over the workloads in the mean; each alone is in benchmarks/AUTOSCALE.md."""
    found: dict[str, tuple[float, float]] = {}
    for who, make in POLICIES.items():
        outcomes = [replay(make_tasks(7), make(), World()) for make_tasks in (steady, step, ramp)]
        found[who] = mean(o.lateness for o in outcomes), mean(o.cost for o in outcomes)
    late, cost = found.pop("mlq")
    assert [who for who, (theirs, _) in found.items() if theirs <= late] == []
    assert [who for who, (_, theirs) in found.items() if theirs <= cost] == []


@pytest.mark.parametrize("seconds", [55.0, 200.0])
def test_long_tasks_are_not_taken_for_stuck_ones(seconds: float) -> None:
    """One a minute: each would otherwise be a reason to start a worker, and its end one to stop it."""
    outcome = replay([Task(60.0 * n, seconds) for n in range(60)], Policy(Tuning(most=16)), World(most=16))
    assert outcome.starts + outcome.stops <= seconds / 60 + 5


def test_the_simulator_agrees_with_erlang() -> None:
    """M/M/3 at a load of two: Erlang C tells how many wait longer than t."""
    random = np.random.default_rng(1)
    at = np.cumsum(random.exponential(0.25, 100_000))
    tasks = [Task(float(t), float(s)) for t, s in zip(at, random.exponential(0.5, at.size), strict=True)]
    waited = replay(tasks, Nobody(), World(first=3, most=3)).waits
    for seconds, share in ((0, 0.444), (0.25, 0.270), (0.5, 0.163), (1, 0.060), (2, 0.008)):
        assert np.mean([w > seconds for w in waited]) == pytest.approx(share, abs=0.02)
    assert wait_probability(3, 2.0) == pytest.approx(0.444, abs=0.001)
    assert long_wait_probability(3, 2.0, 2.0, 1.0) == pytest.approx(0.060, abs=0.001)


class Nobody:
    """Changes nothing."""

    def decide(self, seen: Observation) -> Decision:
        """Hold."""
        return Decision(seen.at, seen.ready, seen.in_flight, 0, 0, 0, "hold", "")
