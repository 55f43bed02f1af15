"""The limits that the default settings must keep, replayed with the policy that mlq runs."""

from __future__ import annotations

from statistics import mean

import numpy as np
import pytest

from benchmarks.autoscale import workloads
from benchmarks.autoscale.__main__ import POLICIES
from benchmarks.autoscale.workloads import ramp, steady, step
from mlq.autoscale.policy.observation import Observation
from mlq.autoscale.policy.policy import Decision, Policy, Tuning
from mlq.autoscale.policy.staffing import waits, waits_longer
from mlq.autoscale.replay.simulation import Replay, Task, World, replay

SLACK = 1.05
"""Tolerance, because there are fewer seeds than in the benchmark."""


def replay_workload(name: str, seeds: int, world: World | None = None) -> list[Replay]:
    """Replay a workload."""
    make = getattr(workloads, name)
    return [replay(make(seed), Policy(Tuning()), world or World()) for seed in range(seeds)]


@pytest.mark.parametrize(
    ("workload", "cost", "in_time", "actions"),
    [("steady", 12_100, 0.995, 15), ("step", 12_000, 0.915, 25), ("ramp", 17_300, 0.987, 20)],
)
def test_tasks_are_in_time_at_the_documented_cost_and_number_of_starts(
    workload: str, cost: float, in_time: float, actions: float
) -> None:
    """The figures are worker-seconds, the share that waits no longer than the target, starts and stops."""
    outcomes = replay_workload(workload, 2)
    assert mean(o.cost for o in outcomes) <= SLACK * cost
    assert 1 - mean(o.in_time for o in outcomes) <= SLACK * (1 - in_time)
    assert mean(o.starts + o.stops for o in outcomes) <= SLACK * actions


@pytest.mark.parametrize("workload", ["batched", "rising"])
def test_rows_that_share_forwards_need_no_more_than_the_cheapest_fixed_number_of_workers(workload: str) -> None:
    """Twenty milliseconds and one per row: one worker is in time, even if its small batches suggest otherwise.

    When the rate rises its batches grow, so it was always fast enough.
    """
    (outcome,) = replay_workload(workload, 1, World(batch=(0.020, 0.001, 64)))
    assert outcome.cost <= 1.3 * 1200
    assert outcome.in_time >= 0.99
    assert outcome.starts + outcome.stops <= 10


def test_tasks_wait_less_and_cost_less_than_with_defaults_of_others() -> None:
    """This is the mean of the workloads; benchmarks/AUTOSCALE.md has each one."""
    found: dict[str, tuple[float, float]] = {}
    for who, make in POLICIES.items():
        outcomes = [replay(make_tasks(7), make(), World()) for make_tasks in (steady, step, ramp)]
        found[who] = mean(o.lateness for o in outcomes), mean(o.cost for o in outcomes)
    late, cost = found.pop("mlq")
    assert [who for who, (theirs, _) in found.items() if theirs <= late] == []
    assert [who for who, (_, theirs) in found.items() if theirs <= cost] == []


@pytest.mark.parametrize("seconds", [55.0, 200.0])
def test_long_tasks_are_not_treated_as_stuck(seconds: float) -> None:
    """One task a minute: otherwise each would be a reason to start a worker, and its end a reason to stop it."""
    outcome = replay([Task(60.0 * n, seconds) for n in range(60)], Policy(Tuning(most=16)), World(most=16))
    assert outcome.starts + outcome.stops <= seconds / 60 + 5


def test_the_simulator_agrees_with_erlang() -> None:
    """M/M/3 at a load of two: Erlang C gives the share of tasks that wait longer than t."""
    random = np.random.default_rng(1)
    at = np.cumsum(random.exponential(0.25, 100_000))
    tasks = [Task(float(t), float(s)) for t, s in zip(at, random.exponential(0.5, at.size), strict=True)]
    waited = replay(tasks, NoChange(), World(first=3, most=3)).waits
    for seconds, share in ((0, 0.444), (0.25, 0.270), (0.5, 0.163), (1, 0.060), (2, 0.008)):
        assert np.mean([w > seconds for w in waited]) == pytest.approx(share, abs=0.02)
    assert waits(3, 2.0) == pytest.approx(0.444, abs=0.001)
    assert waits_longer(3, 2.0, 2.0, 1.0) == pytest.approx(0.060, abs=0.001)


class NoChange:
    """A policy that changes nothing."""

    def decide(self, seen: Observation) -> Decision:
        """Return the decision to hold."""
        return Decision(seen.at, seen.ready, seen.in_flight, 0, 0, 0, "hold", "")
