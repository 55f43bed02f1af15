"""The policy, one test for each way in which autoscalers are known to fail."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest

from mlq.autoscale.policy.observation import Observation, WorkerSample
from mlq.autoscale.policy.policy import PRESETS, Decision, Policy, Threshold, Tuning


def worker(n: int, state: Any = "idle", **more: Any) -> WorkerSample:
    """A worker of half a second a task that has served for a while."""
    done = more.pop("done", 100)
    usual = {"age_s": 600.0, "ready_s": 30.0, "idle_s": 60.0}
    return WorkerSample(f"w{n}", state, done, done, 0.5 * done, **{**usual, **more})


class Timeline:
    """Drives a policy tick by tick, with workers that do as they are told."""

    def __init__(self, tuning: Tuning | None = None, workers: int = 1) -> None:
        self.policy = Policy(tuning or Tuning())
        self.workers = [worker(n) for n in range(workers)]
        self.at = 0.0
        self.served = 0

    def tick(self, ready: int | None = 0, flying: int | None = 0, done: int = 0, **more: Any) -> Decision:
        """Let two seconds pass, in which so many tasks ended."""
        self.at += 2.0
        if self.workers:
            first = self.workers[0]
            self.workers[0] = replace(
                first, done=first.done + done, all_done=first.all_done + done, busy_s=first.busy_s + 0.5 * done
            )
        return self.policy.decide(Observation(self.at, ready, flying, self.workers, **more))

    def quiet(self, seconds: float) -> list[Decision]:
        """Let nothing happen for so long."""
        return [self.tick() for _ in range(int(seconds / 2))]


def test_busy_workers_are_never_drained() -> None:
    """keda#157, #2900: a scale-down that kills what runs."""
    timeline = Timeline(Tuning(hold=0.1, floor_s=2.0), workers=4)
    timeline.workers = [worker(n, "busy", running_s=1.0) for n in range(3)] + [worker(3)]
    drained = [wid for d in timeline.quiet(1200) for wid in d.drain]
    assert set(drained) == {"w3"}


def test_nobody_is_drained_while_tasks_wait() -> None:
    """An idle worker is about to take one of them, and would be missed a moment later."""
    timeline = Timeline(Tuning(hold=0.1, floor_s=2.0), workers=4)
    assert not any(timeline.tick(ready=1).drain for _ in range(600))


def test_what_runs_counts_and_the_last_worker_stays_for_it() -> None:
    """keda#356, #638: scaled to zero while a task runs, since the queue is empty."""
    timeline = Timeline(Tuning(least=0, hold=0.1, floor_s=2.0, zero_s=2.0), workers=1)
    timeline.workers = [worker(0, "busy", running_s=5.0)]
    seen = [timeline.tick(ready=0, flying=1) for _ in range(300)]
    assert not any(d.drain for d in seen)
    assert {d.need for d in seen} == {1}
    timeline.workers = []  # it died, and what it held comes back
    assert timeline.tick(ready=0, flying=1).start == 1


def test_a_queue_that_cannot_be_seen_is_not_an_empty_one() -> None:
    """keda#1850, #7239: a metric that is lost, read as zero; nobody is stopped, however long it lasts."""
    timeline = Timeline(Tuning(hold=0.1, floor_s=2.0), workers=4)
    timeline.tick()
    assert {timeline.tick(ready=None, flying=None).action for _ in range(600)} == {"hold"}
    timeline.workers.pop()
    assert timeline.tick(ready=None, flying=None).start == 1


def test_history_that_is_lost_is_not_idleness() -> None:
    """knative#4795: an autoscaler that has just started knows nothing, and stops half the fleet."""
    timeline = Timeline(workers=6)
    assert not any(d.drain for d in timeline.quiet(100))


@pytest.mark.parametrize("done", [0, 10_000])
def test_who_is_heard_of_late_is_not_drained_for_lack_of_a_history(done: int) -> None:
    """After a server that lost its data heartbeats come back one by one."""
    timeline = Timeline(Tuning(most=30), workers=0)
    timeline.tick()
    timeline.workers = [worker(n, done=done) for n in range(6)]
    after = timeline.quiet(250)
    assert not any(d.drain for d in after)
    assert max(d.rate or 0.0 for d in after) <= 12.0, "all that they ever did has not come in these two seconds"


def test_a_time_without_a_look_is_a_new_start() -> None:
    """What came meanwhile came at no known time, and who is there is held anew."""
    timeline = Timeline(workers=6)
    timeline.quiet(280)
    timeline.at += 60.0
    after = [timeline.tick(done=600), *timeline.quiet(280)]
    assert not any(d.drain for d in after), "the 300 s begin anew"
    assert max(d.rate or 0.0 for d in after) == 0.0, "600 tasks in 62 s are no 300 a second"


def test_a_burst_after_the_start_is_not_held_for_as_long_as_what_was_there() -> None:
    """Nothing was known of workers that did not exist, and that is no reason to keep them."""
    timeline = Timeline(workers=1)
    timeline.quiet(60)
    asked = timeline.tick(ready=60)
    timeline.workers += [worker(n, done=0) for n in range(1, 1 + asked.start)]
    drained = {wid for d in timeline.quiet(60) for wid in d.drain}
    assert len(drained) == (asked.need or 0) - (asked.base or 0) > 0, "half a minute after the backlog, not five"


def test_who_was_asked_for_at_the_first_look_was_not_there_before_it() -> None:
    """What waits at the start is worked off, and who came for it goes half a minute later, not five minutes."""
    timeline = Timeline(workers=1)
    asked = timeline.tick(ready=200).start
    timeline.workers += [worker(n, "starting", done=0, age_s=2.0, ready_s=None) for n in range(1, 1 + asked)]
    timeline.quiet(6)
    timeline.workers[1:] = [replace(w, state="idle", ready_s=30.0) for w in timeline.workers[1:]]
    assert len({wid for d in timeline.quiet(60) for wid in d.drain}) == asked > 0


def test_starting_workers_are_counted_and_no_more_are_started_for_them() -> None:
    """kubernetes#59975, ray#61731: during a cold start the backlog grows, and start follows start."""
    timeline = Timeline(Tuning(most=50), workers=1)
    timeline.quiet(60)
    asked = timeline.tick(ready=60).start
    assert 0 < asked < 50
    timeline.workers += [worker(n, "starting", done=0, age_s=4, ready_s=None, idle_s=0) for n in range(1, asked + 1)]
    assert sum(timeline.tick(ready=60).start for _ in range(5)) <= 2


def test_noise_does_not_flap() -> None:
    """knative#3153, ray#18925: up and down with every dozen tasks."""
    timeline = Timeline(workers=3)
    actions = 0
    for n in range(900):
        decision = timeline.tick(ready=n % 3, done=2 + n % 5)
        timeline.workers = [w for w in timeline.workers if w.id not in decision.drain]
        timeline.workers += [worker(1000 * n + i) for i in range(decision.start)]
        actions += bool(decision.start or decision.drain)
    assert actions <= 4


def test_a_worker_that_vanishes_with_its_counters_makes_no_phantom_load() -> None:
    """ray#44045, #61551: what is gone is subtracted, and a negative difference pins the fleet; so does a purge."""
    timeline = Timeline(workers=4)
    timeline.quiet(60)
    for _ in range(30):
        timeline.tick(ready=500)
    timeline.workers = [worker(0, done=0)]
    after = [timeline.tick() for _ in range(60)]
    assert {d.rate for d in after} == {0.0}
    assert after[-1].need == 1


def test_a_task_that_hangs_says_nothing_of_the_others() -> None:
    """One that has run for minutes would make all look slow; and its worker is no capacity."""
    timeline = Timeline(Tuning(most=8), workers=3)
    for _ in range(30):
        timeline.tick(done=4)
    timeline.workers[2] = worker(2, "busy", running_s=900.0)
    seen = timeline.tick(done=4)
    assert seen.live == 2
    assert seen.service_rate == pytest.approx(2.0, rel=0.1)


def test_an_autoscaler_that_takes_over_knows_long_tasks_from_the_workers_lives() -> None:
    """Before one has ended under its own eyes, all who work on one would seem stuck."""
    timeline = Timeline(workers=0)
    timeline.workers = [worker(n, "busy", done=5, running_s=3000.0) for n in range(3)]
    timeline.workers = [replace(w, busy_s=5 * 500.0) for w in timeline.workers]
    seen = [timeline.tick(flying=3) for _ in range(3)][-1]
    assert (seen.live, seen.stuck) == (3, [])


def test_a_slow_task_counts_before_it_has_ended() -> None:
    """Only the quick ones would have ended, and a fleet whose tasks have become slow would seem fast enough."""
    timeline = Timeline(workers=3)
    for _ in range(30):
        timeline.tick(done=4)
    timeline.workers[1:] = [worker(n, "busy", running_s=25.0) for n in (1, 2)]
    assert (timeline.tick(done=4).service_rate or 0.0) < 1.5


def test_a_few_more_by_chance_are_no_rise() -> None:
    """Poisson's own ups and downs: five in ten seconds where three are usual are no reason to start anybody."""
    timeline = Timeline(workers=3)
    for n in range(60):
        seen = timeline.tick(done=n % 2)
    assert [timeline.tick(done=1).rate for _ in range(2)] == [pytest.approx(seen.slow_rate, rel=0.2)] * 2
    assert (timeline.tick(done=40).rate or 0.0) > 3.0


def test_zero_is_left_at_the_first_task() -> None:
    """kubernetes#130130: nothing is known of the service yet, and one task is too little for any rule."""
    timeline = Timeline(Tuning(least=0), workers=0)
    timeline.quiet(20)
    assert timeline.tick(ready=1).start == 1


def test_a_batching_worker_is_not_taken_for_a_slow_one() -> None:
    """At low load its batches are small, and rows a second of busy time say little of what it can do."""
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
    """A start timeout below the cold start would kill every start: until one succeeds the longest so far counts."""
    timeline = Timeline(workers=0)
    timeline.workers = [WorkerSample("w", "starting", 0, 0, 0.0, age_s=200.0)]
    assert timeline.tick(ready=1).cold_start_s == 200.0


def test_a_start_that_takes_far_too_long_is_given_up_and_counts_no_more() -> None:
    """It would be waited for for ever, while the queue grows; before any has succeeded nobody knows what is long."""
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
    """An operator must be able to follow it."""
    timeline = Timeline()
    for _ in range(30):
        timeline.tick(done=4)
    seen = timeline.tick(ready=40, flying=1)
    assert None not in (seen.slow_rate, seen.fast_rate, seen.rate, seen.service_rate, seen.squared_cv)
    assert None not in (seen.cold_start_s, seen.backlog, seen.base, seen.need, seen.keep)
    assert seen.action == "start"
    assert seen.reason


def test_the_plain_rule_starts_one_at_a_time_and_stops_only_who_rests() -> None:
    """As the loops that users write by hand, but for what those get wrong."""
    rule = Threshold(Tuning(least=1, most=3, zero_s=60.0), 50)
    busy = [worker(0, "busy")]
    assert rule.decide(Observation(0.0, 51, 1, busy)).start == 1
    assert rule.decide(Observation(2.0, 50, 1, busy)).action == "hold"
    assert rule.decide(Observation(4.0, None, None, busy)).action == "hold"
    assert rule.decide(Observation(6.0, 0, 1, [*busy, worker(1, idle_s=59.0)])).drain == ()
    assert list(rule.decide(Observation(8.0, 0, 1, [*busy, worker(1, idle_s=61.0)])).drain) == ["w1"]


def test_who_is_gone_is_forgotten() -> None:
    """Workers are replaced all the time, and an autoscaler runs for months."""
    timeline, sizes = Timeline(workers=0), []
    for n in range(4000):
        timeline.workers = [worker(n, done=5)]
        timeline.tick()
        sizes.append(len(pickle.dumps(timeline.policy)) if n in {1999, 3999} else 0)
    assert max(sizes[2000:]) < 1.05 * max(sizes[:2000])


def kept_s(tuning: Tuning, cold_s: float, workers: int) -> list[float]:
    """Let a fleet that was needed fall idle; tell after what time each of its workers may go."""
    timeline = Timeline(tuning, workers=workers)
    timeline.workers = [replace(w, ready_s=cold_s) for w in timeline.workers]
    timeline.tick()
    keeps = [d.keep or 0 for d in timeline.quiet(1200)]
    return [2.0 * sum(keep > left for keep in keeps) for left in range(workers)]


def test_the_time_until_zero_holds_the_last_worker_alone() -> None:
    """--zero-after 300 for a fleet of eight would cost seven workers five minutes after each burst."""
    assert kept_s(Tuning(least=0, zero_s=900.0), 30.0, 4) == [pytest.approx(t, abs=4) for t in (900, 300, 300, 300)]
    assert kept_s(Tuning(least=0, zero_s=60.0), 30.0, 1) == [pytest.approx(60, abs=4)], "and is not ignored"


def test_presets_let_go_sooner_or_later_and_aim_higher() -> None:
    """A worker that starts in 5 s is kept 30 s or 120 s, one of 40 s for 4, 10 or 20 times that, 600 s at most."""
    chosen = {name: replace(Tuning(), **preset) for name, preset in PRESETS.items()}
    held = {name: kept_s(tuning, 5.0, 2)[1] for name, tuning in chosen.items()}
    assert held == {name: pytest.approx(s, abs=4) for name, s in zip(chosen, (30, 120, 120), strict=True)}
    slow = {name: kept_s(tuning, 40.0, 2)[1] for name, tuning in chosen.items()}
    assert slow == {name: pytest.approx(s, abs=4) for name, s in zip(chosen, (160, 400, 600), strict=True)}
    assert chosen["latency"].late < chosen["balanced"].late


def test_what_is_not_known_yet_is_not_told_as_a_figure() -> None:
    """On its first look an autoscaler knows no rate; and six who work are not "five more than needed"."""
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


def test_a_start_that_takes_too_long_is_not_given_up_while_the_queue_cannot_be_seen() -> None:
    """To give one up is to stop it, and nobody is stopped then; nor is another one started beside it."""
    timeline = Timeline(Tuning(least=2), workers=1)
    timeline.tick()
    timeline.workers.append(worker(1, "starting", done=0, age_s=130.0, ready_s=None, idle_s=0))
    blind = timeline.tick(ready=None, flying=None)
    assert (blind.action, blind.give_up, blind.start) == ("hold", (), 0)
    assert timeline.tick().give_up == ["w1"]


@pytest.mark.parametrize(("oldest_s", "idle", "need"), [(4.0, 0, 4), (2.9, 0, 3), (None, 0, 3), (4.0, 1, 3)])
def test_the_oldest_that_waits_for_too_long_is_a_reason_of_its_own(
    oldest_s: float | None, idle: int, need: int
) -> None:
    """Three are enough by every formula, and yet work waits longer than the target while none is idle."""
    timeline = Timeline(Tuning(target_s=3.0), workers=3)
    timeline.workers = [worker(n, "busy", ready_s=1.0, running_s=0.5) for n in range(3)]
    for _ in range(60):
        timeline.tick(ready=8, flying=3, done=8)
    timeline.workers[1:] = [replace(w, state="idle" if idle else "busy") for w in timeline.workers[1:]]
    seen = timeline.tick(ready=8, flying=3, done=8, oldest_s=oldest_s)
    assert seen.need == need
    assert ("the oldest has waited" in seen.reason) == (need > 3)


def test_a_cold_start_is_the_upper_quartile_of_the_last_eight() -> None:
    """Half of the starts take longer than the median, and one that took an hour must not decide for ever."""
    timeline = Timeline(workers=0)
    timeline.workers = [worker(n, ready_s=float(n + 1)) for n in range(8)]
    assert timeline.tick().cold_start_s == 6.0
    timeline.workers.append(worker(8, ready_s=3600.0))
    assert timeline.tick().cold_start_s == 7.0, "of 2 to 8 and an hour"
    timeline.workers += [worker(n, ready_s=2.0) for n in range(9, 17)]
    assert timeline.tick().cold_start_s == 2.0


def test_one_that_was_told_to_drain_is_no_capacity_and_takes_nobody_along() -> None:
    """It hears of it with its next heartbeat, and may take a task until then: the next idle one was drained, too."""
    timeline = Timeline(Tuning(least=2), workers=3)
    assert timeline.quiet(320)[-1].drain == ["w0"]
    timeline.workers[0] = worker(0, "busy", running_s=0.1)
    later = [timeline.tick(flying=1) for _ in range(3)]
    assert {(d.live, d.want, tuple(d.drain)) for d in later} == {(2, 2, ("w0",))}, "nor is it forgotten"
    timeline.workers.pop(0)
    assert timeline.tick().drain == []
