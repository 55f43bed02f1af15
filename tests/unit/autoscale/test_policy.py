"""The policy of the autoscaler, with one test for each known kind of failure of autoscalers."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest

from mlq.autoscale.policy.observation import Observation, WorkerSample
from mlq.autoscale.policy.policy import PRESETS, Decision, Policy, Threshold, Tuning


def worker(n: int, state: Any = "idle", **more: Any) -> WorkerSample:
    """Return a worker of half a second per task that has served for a while."""
    done = more.pop("done", 100)
    usual = {"age_s": 600.0, "ready_s": 30.0, "idle_s": 60.0}
    return WorkerSample(f"w{n}", state, done, done, 0.5 * done, **{**usual, **more})


class Timeline:
    """A run of a policy tick by tick, with workers that carry out its orders."""

    def __init__(self, tuning: Tuning | None = None, workers: int = 1) -> None:
        self.policy = Policy(tuning or Tuning())
        self.workers = [worker(n) for n in range(workers)]
        self.at = 0.0
        self.served = 0

    def tick(self, ready: int | None = 0, flying: int | None = 0, done: int = 0, **more: Any) -> Decision:
        """Let two seconds pass, in which this number of tasks ended."""
        self.at += 2.0
        if self.workers:
            first = self.workers[0]
            self.workers[0] = replace(
                first, done=first.done + done, all_done=first.all_done + done, busy_s=first.busy_s + 0.5 * done
            )
        return self.policy.decide(Observation(self.at, ready, flying, self.workers, **more))

    def quiet(self, seconds: float) -> list[Decision]:
        """Let this time pass without tasks."""
        return [self.tick() for _ in range(int(seconds / 2))]


def test_busy_workers_are_never_drained() -> None:
    """keda#157, #2900: a scale-down kills running tasks."""
    timeline = Timeline(Tuning(hold=0.1, floor_s=2.0), workers=4)
    timeline.workers = [worker(n, "busy", running_s=1.0) for n in range(3)] + [worker(3)]
    drained = [wid for d in timeline.quiet(1200) for wid in d.drain]
    assert set(drained) == {"w3"}


def test_no_worker_is_drained_while_tasks_wait() -> None:
    """An idle worker is about to take one of them, and would be missing a moment later."""
    timeline = Timeline(Tuning(hold=0.1, floor_s=2.0), workers=4)
    assert not any(timeline.tick(ready=1).drain for _ in range(600))


def test_running_tasks_count_and_keep_the_last_worker() -> None:
    """keda#356, #638: scaled to zero during a task, because the queue is empty."""
    timeline = Timeline(Tuning(least=0, hold=0.1, floor_s=2.0, zero_s=2.0), workers=1)
    timeline.workers = [worker(0, "busy", running_s=5.0)]
    seen = [timeline.tick(ready=0, flying=1) for _ in range(300)]
    assert not any(d.drain for d in seen)
    assert {d.need for d in seen} == {1}
    timeline.workers = []  # it died, and its messages come back
    assert timeline.tick(ready=0, flying=1).start == 1


def test_an_unknown_queue_is_not_an_empty_queue() -> None:
    """keda#1850, #7239: a lost metric is read as zero. No worker is stopped, even in a long outage."""
    timeline = Timeline(Tuning(hold=0.1, floor_s=2.0), workers=4)
    timeline.tick()
    assert {timeline.tick(ready=None, flying=None).action for _ in range(600)} == {"hold"}
    timeline.workers.pop()
    assert timeline.tick(ready=None, flying=None).start == 1


def test_a_lost_history_is_not_idleness() -> None:
    """knative#4795: an autoscaler that has just started has no data, and stops half of the workers."""
    timeline = Timeline(workers=6)
    assert not any(d.drain for d in timeline.quiet(100))


@pytest.mark.parametrize("done", [0, 10_000])
def test_a_worker_whose_heartbeat_comes_late_is_not_drained_for_lack_of_history(done: int) -> None:
    """After a server has lost its data, heartbeats come back one by one."""
    timeline = Timeline(Tuning(most=30), workers=0)
    timeline.tick()
    timeline.workers = [worker(n, done=done) for n in range(6)]
    after = timeline.quiet(250)
    assert not any(d.drain for d in after)
    assert max(d.rate or 0.0 for d in after) <= 12.0, "all that they ever did has not come in these two seconds"


def test_a_time_without_a_look_is_a_new_start() -> None:
    """The arrival times of tasks in a gap are unknown, and existing workers are kept again."""
    timeline = Timeline(workers=6)
    timeline.quiet(280)
    timeline.at += 60.0
    after = [timeline.tick(done=600), *timeline.quiet(280)]
    assert not any(d.drain for d in after), "the 300 s begin anew"
    assert max(d.rate or 0.0 for d in after) == 0.0, "600 tasks in 62 s are no 300 a second"


def test_workers_for_a_burst_after_the_start_are_not_kept_as_long_as_older_ones() -> None:
    """The rule for workers that existed before the first look must not apply to new workers."""
    timeline = Timeline(workers=1)
    timeline.quiet(60)
    asked = timeline.tick(ready=60)
    timeline.workers += [worker(n, done=0) for n in range(1, 1 + asked.start)]
    drained = {wid for d in timeline.quiet(60) for wid in d.drain}
    assert len(drained) == (asked.need or 0) - (asked.base or 0) > 0, "half a minute after the backlog, not five"


def test_a_worker_that_the_first_look_started_does_not_count_as_older() -> None:
    """After the waiting tasks, the worker that started for them stops half a minute later, not five minutes later."""
    timeline = Timeline(workers=1)
    asked = timeline.tick(ready=200).start
    timeline.workers += [worker(n, "starting", done=0, age_s=2.0, ready_s=None) for n in range(1, 1 + asked)]
    timeline.quiet(6)
    timeline.workers[1:] = [replace(w, state="idle", ready_s=30.0) for w in timeline.workers[1:]]
    assert len({wid for d in timeline.quiet(60) for wid in d.drain}) == asked > 0


def test_starting_workers_count_and_no_more_are_started() -> None:
    """kubernetes#59975, ray#61731: during a cold start the backlog grows, and more and more workers are started."""
    timeline = Timeline(Tuning(most=50), workers=1)
    timeline.quiet(60)
    asked = timeline.tick(ready=60).start
    assert 0 < asked < 50
    timeline.workers += [worker(n, "starting", done=0, age_s=4, ready_s=None, idle_s=0) for n in range(1, asked + 1)]
    assert sum(timeline.tick(ready=60).start for _ in range(5)) <= 2


def test_noise_causes_no_flapping() -> None:
    """knative#3153, ray#18925: the number of workers goes up and down with every dozen tasks."""
    timeline = Timeline(workers=3)
    actions = 0
    for n in range(900):
        decision = timeline.tick(ready=n % 3, done=2 + n % 5)
        timeline.workers = [w for w in timeline.workers if w.id not in decision.drain]
        timeline.workers += [worker(1000 * n + i) for i in range(decision.start)]
        actions += bool(decision.start or decision.drain)
    assert actions <= 4


def test_a_worker_that_vanishes_with_its_counters_causes_no_phantom_load() -> None:
    """ray#44045, #61551: the counts of a vanished worker make a negative difference, which blocks scaling.

    A purge does, too.
    """
    timeline = Timeline(workers=4)
    timeline.quiet(60)
    for _ in range(30):
        timeline.tick(ready=500)
    timeline.workers = [worker(0, done=0)]
    after = [timeline.tick() for _ in range(60)]
    assert {d.rate for d in after} == {0.0}
    assert after[-1].need == 1


def test_a_hanging_task_does_not_change_the_estimate() -> None:
    """A task that has run for minutes would make all tasks look slow. Its worker does not count as capacity."""
    timeline = Timeline(Tuning(most=8), workers=3)
    for _ in range(30):
        timeline.tick(done=4)
    timeline.workers[2] = worker(2, "busy", running_s=900.0)
    seen = timeline.tick(done=4)
    assert seen.live == 2
    assert seen.service_rate == pytest.approx(2.0, rel=0.1)


def test_an_autoscaler_that_takes_over_learns_of_long_tasks_from_the_workers_totals() -> None:
    """Before it has seen one such task end, all workers with one would seem stuck."""
    timeline = Timeline(workers=0)
    timeline.workers = [worker(n, "busy", done=5, running_s=3000.0) for n in range(3)]
    timeline.workers = [replace(w, busy_s=5 * 500.0) for w in timeline.workers]
    seen = [timeline.tick(flying=3) for _ in range(3)][-1]
    assert (seen.live, seen.stuck) == (3, [])


def test_a_slow_task_counts_before_it_has_ended() -> None:
    """Otherwise only the fast tasks would have ended, and workers whose tasks became slow would seem fast enough."""
    timeline = Timeline(workers=3)
    for _ in range(30):
        timeline.tick(done=4)
    timeline.workers[1:] = [worker(n, "busy", running_s=25.0) for n in (1, 2)]
    assert (timeline.tick(done=4).service_rate or 0.0) < 1.5


def test_a_few_more_tasks_by_chance_are_not_a_rise() -> None:
    """Random variation: five tasks in ten seconds instead of the usual three are no reason to start a worker."""
    timeline = Timeline(workers=3)
    for n in range(60):
        seen = timeline.tick(done=n % 2)
    assert [timeline.tick(done=1).rate for _ in range(2)] == [pytest.approx(seen.slow_rate, rel=0.2)] * 2
    assert (timeline.tick(done=40).rate or 0.0) > 3.0


def test_the_first_task_ends_scale_to_zero() -> None:
    """kubernetes#130130: the duration of a task is still unknown, and one task is too little for any rule."""
    timeline = Timeline(Tuning(least=0), workers=0)
    timeline.quiet(20)
    assert timeline.tick(ready=1).start == 1


def test_a_batching_worker_is_not_treated_as_a_slow_one() -> None:
    """At low load its batches are small, and rows per second of busy time do not show its capacity."""
    sums = [0.0] * 6
    timeline = Timeline(workers=1)
    for n in range(60):
        for rows in (3 + n % 3, 5):
            seconds = 0.020 + 0.001 * rows
            more = (1, rows, seconds, rows * rows, rows * seconds, seconds * seconds)
            sums = [a + b for a, b in zip(sums, more, strict=True)]
        timeline.workers = [worker(0, "busy", done=400 * n, rows_done=400 * n, forwards=tuple(sums), running_s=0.01)]
        timeline.workers[0] = replace(timeline.workers[0], busy_s=2.0 * n)
        last = timeline.tick(flying=5)
    assert last.rate == pytest.approx(200, rel=0.1)
    assert last.need == 1


def test_an_unknown_cold_start_is_not_a_short_one() -> None:
    """A start timeout below the cold start would stop every start. Until one succeeds, the longest so far counts."""
    timeline = Timeline(workers=0)
    timeline.workers = [WorkerSample("w", "starting", 0, 0, 0.0, age_s=200.0)]
    assert timeline.tick(ready=1).cold_start_s == 200.0


def test_a_start_that_takes_far_too_long_no_longer_counts() -> None:
    """Otherwise the policy would wait for it without end while the queue grows.

    Before the first success no limit is known.
    """
    timeline = Timeline(Tuning(most=8), workers=1)
    timeline.tick()
    timeline.workers.append(worker(1, "starting", done=0, age_s=119.0, ready_s=None, idle_s=0))
    assert timeline.tick(ready=60).give_up == []
    timeline.workers[1] = replace(timeline.workers[1], age_s=121.0)
    late = timeline.tick(ready=60)
    assert (late.give_up, late.starting) == (["w1"], 0)
    first = Timeline(workers=0)
    first.workers = [worker(0, "starting", done=0, age_s=1700.0, ready_s=None, idle_s=0)]
    assert first.tick(ready=1).give_up == []


def test_every_figure_and_its_reason_is_in_the_decision() -> None:
    """An operator must be able to understand it."""
    timeline = Timeline()
    for _ in range(30):
        timeline.tick(done=4)
    seen = timeline.tick(ready=40, flying=1)
    assert None not in (seen.slow_rate, seen.fast_rate, seen.rate, seen.service_rate, seen.squared_cv)
    assert None not in (seen.cold_start_s, seen.backlog, seen.base, seen.need, seen.keep)
    assert seen.action == "start"
    assert seen.reason


def test_the_plain_rule_starts_one_worker_at_a_time_and_stops_only_idle_ones() -> None:
    """It does what users write by hand, without the usual mistakes."""
    rule = Threshold(Tuning(least=1, most=3, zero_s=60.0), 50)
    busy = [worker(0, "busy")]
    assert rule.decide(Observation(0.0, 51, 1, busy)).start == 1
    assert rule.decide(Observation(2.0, 50, 1, busy)).action == "hold"
    assert rule.decide(Observation(4.0, None, None, busy)).action == "hold"
    assert rule.decide(Observation(6.0, 0, 1, [*busy, worker(1, idle_s=59.0)])).drain == ()
    assert list(rule.decide(Observation(8.0, 0, 1, [*busy, worker(1, idle_s=61.0)])).drain) == ["w1"]


def test_data_of_ended_workers_is_dropped() -> None:
    """Workers are replaced all the time, and an autoscaler runs for months."""
    timeline, sizes = Timeline(workers=0), []
    for n in range(4000):
        timeline.workers = [worker(n, done=5)]
        timeline.tick()
        sizes.append(len(pickle.dumps(timeline.policy)) if n in {1999, 3999} else 0)
    assert max(sizes[2000:]) < 1.05 * max(sizes[:2000])


def kept_s(tuning: Tuning, cold_s: float, workers: int) -> list[float]:
    """Let workers that were needed become idle; return the seconds after which each may stop."""
    timeline = Timeline(tuning, workers=workers)
    timeline.workers = [replace(w, ready_s=cold_s) for w in timeline.workers]
    timeline.tick()
    keeps = [d.keep or 0 for d in timeline.quiet(1200)]
    return [2.0 * sum(keep > left for keep in keeps) for left in range(workers)]


def test_the_time_until_zero_applies_only_to_the_last_worker() -> None:
    """With eight workers, --zero-after 300 for all would cost seven workers five minutes after each burst."""
    assert kept_s(Tuning(least=0, zero_s=900.0), 30.0, 4) == [pytest.approx(t, abs=4) for t in (900, 300, 300, 300)]
    assert kept_s(Tuning(least=0, zero_s=60.0), 30.0, 1) == [pytest.approx(60, abs=4)], "and is not ignored"


def test_presets_differ_in_how_long_they_keep_workers() -> None:
    """A worker that starts in 5 s is kept for 30 s or 120 s.

    One that starts in 40 s is kept for 4, 10 or 20 times that, at most 600 s.
    """
    chosen = {name: replace(Tuning(), **preset) for name, preset in PRESETS.items()}
    held = {name: kept_s(tuning, 5.0, 2)[1] for name, tuning in chosen.items()}
    assert held == {name: pytest.approx(s, abs=4) for name, s in zip(chosen, (30, 120, 120), strict=True)}
    slow = {name: kept_s(tuning, 40.0, 2)[1] for name, tuning in chosen.items()}
    assert slow == {name: pytest.approx(s, abs=4) for name, s in zip(chosen, (160, 400, 600), strict=True)}
    assert chosen["latency"].late < chosen["balanced"].late


def test_an_unknown_figure_is_not_in_the_reason() -> None:
    """On its first look an autoscaler knows no rate, and six busy workers are not "five more than needed"."""
    timeline = Timeline(workers=0)
    timeline.workers = [worker(n, "busy", done=0, running_s=1.0) for n in range(6)]
    first = timeline.tick(ready=3, flying=6)
    assert {first.slow_rate, first.fast_rate, first.rate, first.base} == {None}
    assert {first.service_rate, first.capacity, first.squared_cv} == {None}, "no task has ended yet"
    assert (first.action, first.need) == ("hold", 6)
    assert "not known yet" in first.reason
    second = timeline.tick(ready=3, flying=6)
    assert (second.rate, second.service_rate) == (0.0, None)
    timeline.workers[1] = worker(1, done=4)
    assert timeline.tick(ready=0, flying=6).service_rate == pytest.approx(2.0)


def test_a_slow_start_is_not_stopped_while_the_queue_is_unknown() -> None:
    """While the queue is unknown no worker is stopped, and none is started."""
    timeline = Timeline(Tuning(least=2), workers=1)
    timeline.tick()
    timeline.workers.append(worker(1, "starting", done=0, age_s=130.0, ready_s=None, idle_s=0))
    blind = timeline.tick(ready=None, flying=None)
    assert (blind.action, blind.give_up, blind.start) == ("hold", (), 0)
    assert timeline.tick().give_up == ["w1"]


@pytest.mark.parametrize(("oldest_s", "idle", "need"), [(4.0, 0, 4), (2.9, 0, 3), (None, 0, 3), (4.0, 1, 3)])
def test_a_too_old_message_is_a_reason_to_start_a_worker(oldest_s: float | None, idle: int, need: int) -> None:
    """By every formula three workers are enough, but a message waits longer than the target while none is idle."""
    timeline = Timeline(Tuning(target_s=3.0), workers=3)
    timeline.workers = [worker(n, "busy", ready_s=1.0, running_s=0.5) for n in range(3)]
    for _ in range(60):
        timeline.tick(ready=8, flying=3, done=8)
    timeline.workers[1:] = [replace(w, state="idle" if idle else "busy") for w in timeline.workers[1:]]
    seen = timeline.tick(ready=8, flying=3, done=8, oldest_s=oldest_s)
    assert seen.need == need
    assert ("the oldest has waited" in seen.reason) == (need > 3)


def test_a_cold_start_is_the_upper_quartile_of_the_last_eight() -> None:
    """Half of the starts take longer than the median, and one start of an hour must not count without end."""
    timeline = Timeline(workers=0)
    timeline.workers = [worker(n, ready_s=float(n + 1)) for n in range(8)]
    assert timeline.tick().cold_start_s == 6.0
    timeline.workers.append(worker(8, ready_s=3600.0))
    assert timeline.tick().cold_start_s == 7.0, "of 2 to 8 and an hour"
    timeline.workers += [worker(n, ready_s=2.0) for n in range(9, 17)]
    assert timeline.tick().cold_start_s == 2.0


def test_a_worker_with_a_drain_order_is_no_capacity_and_drains_no_other() -> None:
    """It gets the order with its next heartbeat, and may take a task until then.

    The next idle worker was drained, too.
    """
    timeline = Timeline(Tuning(least=2), workers=3)
    assert timeline.quiet(320)[-1].drain == ["w0"]
    timeline.workers[0] = worker(0, "busy", running_s=0.1)
    later = [timeline.tick(flying=1) for _ in range(3)]
    assert {(d.live, d.want, tuple(d.drain)) for d in later} == {(2, 2, ("w0",))}, "nor is it forgotten"
    timeline.workers.pop(0)
    assert timeline.tick().drain == []
