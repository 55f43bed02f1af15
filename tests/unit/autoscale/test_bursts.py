"""Advice about bursts that were over before a worker had started, and the cases that are no such burst."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mlq.autoscale.live.bursts import Advised, BurstWatch
from mlq.autoscale.policy.observation import Observation, WorkerSample
from mlq.autoscale.policy.policy import Decision, Policy, Tuning
from mlq.autoscale.replay.simulation import Task, World, replay

TICK_S, COLD_S = 2.0, 30.0
NEW = WorkerSample("new:1", "idle", 0, 0, 0.0, age_s=COLD_S, ready_s=COLD_S)


def burst(began: float, tasks: int = 20, seconds: float = 40.0) -> Iterator[Observation]:
    """Return what is seen of a burst: one worker does two tasks per second, another one starts in thirty seconds."""
    for number in range(int(seconds / TICK_S)):
        since = TICK_S * number
        done = min(tasks, int(2 * since))
        left = tasks - done if number else 0  # they arrive right after the first look
        oldest = since if left > 1 and number else None
        old = WorkerSample("old:1", "busy" if left else "idle", done, done, done / 2, age_s=900.0, ready_s=COLD_S)
        new = [WorkerSample("h:new", "starting", 0, 0, 0.0, age_s=since)] if number else []
        there = [old, *([NEW] if since >= COLD_S else new)]
        yield Observation(began + since, max(0, left - 1), min(1, left), there, oldest)


def said(watch: BurstWatch, *seen: Observation, rate: float | None = 2.0) -> list[str]:
    """Return the advice beside a policy that knows the rate of a worker."""
    found = []
    for look in seen:
        decision = Decision(look.at, look.ready, look.in_flight, 0, 0, 0, "hold", "", service_rate=rate)
        advice = watch.look(look, decision)
        found += [advice] if advice else []
    return found


def test_advice_is_given_for_a_burst_that_was_over_before_a_worker_had_started() -> None:
    """Of twenty tasks, four workers with two tasks per second would begin all within the target."""
    (advice,) = said(BurstWatch(Tuning()), *burst(100))
    assert advice == "a burst was over before a worker had started (30 s): `--min 4` would have met it in time"


def test_advice_is_given_every_ten_minutes_at_most() -> None:
    """Bursts that come every few minutes need it only once."""
    watch = BurstWatch(Tuning())
    assert [len(said(watch, *burst(at))) for at in (0, 200, 400, 700)] == [1, 0, 0, 1]


@pytest.mark.parametrize("why", ["no target was missed", "not even --max would do", "no time of their own", "no rate"])
def test_no_advice_is_given_without_a_basis(why: str) -> None:
    """A wrong figure would be worse than none."""
    looks, tuning, rate = list(burst(0)), Tuning(), 2.0 if why != "no rate" else None
    if why == "no target was missed":
        tuning = Tuning(target_s=12.0)
    elif why == "not even --max would do":
        tuning = Tuning(most=3)
    elif why == "no time of their own":
        looks = [replace(look, oldest_s=None) for look in looks]
    assert said(BurstWatch(tuning), *looks, rate=rate) == []


def test_a_start_that_failed_causes_no_advice() -> None:
    """A worker of --min would have failed, too."""
    looks = [replace(look, workers=look.workers[:1]) if look.at >= COLD_S else look for look in burst(0)]
    assert said(BurstWatch(Tuning()), *looks) == []


@pytest.mark.parametrize("blind", [range(5, 6), range(5, 10)])
def test_a_burst_that_was_seen_only_in_part_causes_no_advice(blind: range) -> None:
    """The broker was away, or another host's autoscaler decided meanwhile."""
    looks = list(burst(0))
    unseen = [replace(look, ready=None, in_flight=None) if n in blind else look for n, look in enumerate(looks)]
    assert said(BurstWatch(Tuning()), *unseen) == []
    skipped = [look for n, look in enumerate(looks) if n not in blind]
    assert len(said(BurstWatch(Tuning()), *skipped)) == (0 if len(blind) > 1 else 1)


def test_tasks_from_before_the_first_look_cause_no_advice() -> None:
    """The autoscaler has just been started. The times of their arrival are unknown, so is the number of workers."""
    looks = [replace(look, ready=(look.ready or 0) + 30, oldest_s=100.0) for look in burst(0)]
    assert said(BurstWatch(Tuning()), *looks) == []
    empty = Observation(-TICK_S, 0, 0, looks[0].workers)
    assert len(said(BurstWatch(Tuning(most=99)), empty, *looks)) == 1


def tasks(rate: float, seconds: float) -> list[Task]:
    """A task every three seconds, and a burst after five minutes."""
    chance, found, at = random.Random(1), [], 0.0  # noqa: S311 (no secret)
    while at < 900:
        at += chance.expovariate(rate if 300 <= at < 300 + seconds else 0.3)
        found.append(Task(at, 0.5 * chance.lognormvariate(-0.1, 0.45)))
    return found


@pytest.mark.parametrize(("rate", "seconds"), [(8, 20), (8, 10), (10, 5), (20, 3)])
def test_the_advised_number_would_have_been_enough_and_little_more(rate: float, seconds: float) -> None:
    """In a replay with this number the same burst is in time; with two workers fewer it is not."""
    advice: list[str] = []
    tuning, trace, world = Tuning(most=16), tasks(rate, seconds), World(most=16, unscored_s=0.0)
    before = replay(trace, Advised(Policy(tuning), BurstWatch(tuning), advice.append), world)
    (text,) = advice
    least = int(text.partition("--min ")[2].partition("`")[0])

    def in_time(workers: int) -> float:
        policy = Policy(replace(tuning, least=workers))
        return replay(trace, policy, replace(world, first=workers)).in_time

    assert before.in_time < in_time(least - 2) < 0.99 < in_time(least)


def test_no_advice_is_given_if_new_workers_came_in_time_to_help() -> None:
    """Eight workers have work for three minutes, so a cold start only delays it."""
    advice: list[str] = []
    replay(tasks(8, 200), Advised(Policy(Tuning()), BurstWatch(Tuning()), advice.append), World())
    assert advice == []
