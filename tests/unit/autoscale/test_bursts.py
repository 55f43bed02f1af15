"""Advice after bursts: a burst that ended before a worker had started leads to advice, and other load does not."""

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


def make_burst(began: float, tasks: int = 20, seconds: float = 40.0) -> Iterator[Observation]:
    """Return the looks during a burst for one worker that runs two tasks a second.

    Another worker starts for thirty seconds.
    """
    for number in range(int(seconds / TICK_S)):
        since = TICK_S * number
        done = min(tasks, int(2 * since))
        left = tasks - done if number else 0  # the burst comes right after the first look
        oldest = since if left > 1 and number else None
        old = WorkerSample("old:1", "busy" if left else "idle", done, done, done / 2, age_s=900.0, ready_s=COLD_S)
        new = [WorkerSample("h:new", "starting", 0, 0, 0.0, age_s=since)] if number else []
        there = [old, *([NEW] if since >= COLD_S else new)]
        yield Observation(began + since, max(0, left - 1), min(1, left), there, oldest)


def advice_of(watch: BurstWatch, *seen: Observation, rate: float | None = 2.0) -> list[str]:
    """Return the advice for these looks, beside a policy that knows how fast a worker is."""
    found = []
    for look in seen:
        decision = Decision(look.at, look.ready, look.in_flight, 0, 0, 0, "hold", "", service_rate=rate)
        advice = watch.look(look, decision)
        found += [advice] if advice else []
    return found


def test_a_burst_that_ended_before_a_worker_had_started_leads_to_advice() -> None:
    """Twenty tasks at two tasks a second each: four workers would have begun all of them within the target."""
    (advice,) = advice_of(BurstWatch(Tuning()), *make_burst(100))
    assert advice == "a burst was over before a worker had started (30 s): `--min 4` would have met it in time"


def test_the_advice_is_given_at_most_every_ten_minutes() -> None:
    """Bursts that come every few minutes need one line of advice."""
    watch = BurstWatch(Tuning())
    assert [len(advice_of(watch, *make_burst(at))) for at in (0, 200, 400, 700)] == [1, 0, 0, 1]


@pytest.mark.parametrize("why", ["no target was missed", "not even --max would do", "no time of their own", "no rate"])
def test_there_is_no_advice_if_a_figure_is_unknown(why: str) -> None:
    """No advice is better than an invented figure."""
    looks, tuning, rate = list(make_burst(0)), Tuning(), 2.0 if why != "no rate" else None
    if why == "no target was missed":
        tuning = Tuning(target_s=12.0)
    elif why == "not even --max would do":
        tuning = Tuning(most=3)
    elif why == "no time of their own":
        looks = [replace(look, oldest_s=None) for look in looks]
    assert advice_of(BurstWatch(tuning), *looks, rate=rate) == []


def test_there_is_no_advice_after_a_failed_start() -> None:
    """A worker of --min would have failed, too."""
    looks = [replace(look, workers=look.workers[:1]) if look.at >= COLD_S else look for look in make_burst(0)]
    assert advice_of(BurstWatch(Tuning()), *looks) == []


@pytest.mark.parametrize("blind", [range(5, 6), range(5, 10)])
def test_there_is_no_advice_after_a_burst_that_was_seen_in_part(blind: range) -> None:
    """The broker was away, or the autoscaler of another host was the leader in the meantime."""
    looks = list(make_burst(0))
    unseen = [replace(look, ready=None, in_flight=None) if n in blind else look for n, look in enumerate(looks)]
    assert advice_of(BurstWatch(Tuning()), *unseen) == []
    skipped = [look for n, look in enumerate(looks) if n not in blind]
    assert len(advice_of(BurstWatch(Tuning()), *skipped)) == (0 if len(blind) > 1 else 1)


def test_there_is_no_advice_about_tasks_older_than_the_autoscaler() -> None:
    """Their arrival times are unknown, so it is unknown how many workers would have been enough."""
    looks = [replace(look, ready=(look.ready or 0) + 30, oldest_s=100.0) for look in make_burst(0)]
    assert advice_of(BurstWatch(Tuning()), *looks) == []
    empty = Observation(-TICK_S, 0, 0, looks[0].workers)
    assert len(advice_of(BurstWatch(Tuning(most=99)), empty, *looks)) == 1


def tasks(rate: float, seconds: float) -> list[Task]:
    """Return a task every three seconds, and a burst after five minutes."""
    chance, found, at = random.Random(1), [], 0.0  # noqa: S311 (not a secret)
    while at < 900:
        at += chance.expovariate(rate if 300 <= at < 300 + seconds else 0.3)
        found.append(Task(at, 0.5 * chance.lognormvariate(-0.1, 0.45)))
    return found


@pytest.mark.parametrize(("rate", "seconds"), [(8, 20), (8, 10), (10, 5), (20, 3)])
def test_the_advised_number_would_have_been_enough_and_little_more(rate: float, seconds: float) -> None:
    """In a replay with that number the same burst is in time; with two fewer it is not."""
    advice: list[str] = []
    tuning, trace, world = Tuning(most=16), tasks(rate, seconds), World(most=16, unscored_s=0.0)
    before = replay(trace, Advised(Policy(tuning), BurstWatch(tuning), advice.append), world)
    (text,) = advice
    least = int(text.partition("--min ")[2].partition("`")[0])

    def in_time(workers: int) -> float:
        policy = Policy(replace(tuning, least=workers))
        return replay(trace, policy, replace(world, first=workers)).in_time

    assert before.in_time < in_time(least - 2) < 0.99 < in_time(least)


def test_there_is_no_advice_if_started_workers_helped_in_time() -> None:
    """Eight workers have three minutes of work, of which the cold start delays only the beginning."""
    advice: list[str] = []
    replay(tasks(8, 200), Advised(Policy(Tuning()), BurstWatch(Tuning()), advice.append), World())
    assert advice == []
