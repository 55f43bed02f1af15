"""The supervisor's decisions, driven by histories of events on a clock of the test."""

from __future__ import annotations

import pytest

from mlq.exit_codes import ExitCode
from mlq.supervisor.events import (
    Abandon,
    Abort,
    Added,
    Began,
    Died,
    Drain,
    Fenced,
    GiveBackAndEnd,
    GiveUp,
    Kill,
    Ordered,
    Overdue,
    Postponed,
    Ready,
    Start,
    StopAsked,
    Tick,
)
from mlq.supervisor.supervisor import (
    GIVE_BACK_S,
    LONGEST_PAUSE_S,
    MAX_DEATHS,
    MAX_DEATHS_AT_WORK,
    STABLE_S,
    Phase,
    Supervisor,
)


def phase(fleet: Supervisor, name: str) -> Phase:
    """Return the phase of a slot."""
    return next(slot.phase for slot in fleet.slots() if slot.name == name)


@pytest.fixture
def fleet() -> Supervisor:
    """Two slots, whose workers have run since 0."""
    fleet = Supervisor(["gpu0", "gpu1"])
    assert fleet.step(Began(), at=0.0) == [Start("gpu0"), Start("gpu1")]
    return fleet


def test_the_first_death_restarts_at_once_and_the_next_ones_wait_longer(fleet: Supervisor) -> None:
    """The pause doubles, and the other worker is not affected."""
    assert fleet.step(Died("gpu0", -9), at=10.0) == [Postponed("gpu0", -9, 0.0), Start("gpu0")]
    assert fleet.step(Died("gpu0", -9), at=12.0) == [Postponed("gpu0", -9, 1.0)]
    assert fleet.wake_at() == 13.0
    assert fleet.step(Tick(), at=12.9) == []
    assert fleet.step(Tick(), at=13.0) == [Start("gpu0")]
    assert fleet.step(Died("gpu0", -9), at=14.0) == [Postponed("gpu0", -9, 2.0)]


def test_a_death_after_a_long_healthy_time_starts_a_new_count(fleet: Supervisor) -> None:
    """Only deaths in a row count."""
    fleet.step(Died("gpu0", 1), at=1.0)
    fleet.step(Died("gpu0", 1), at=2.0)
    fleet.step(Tick(), at=3.0)
    fleet.step(Ready("gpu0"), at=4.0)
    assert fleet.step(Died("gpu0", 1), at=4.0 + STABLE_S) == [Postponed("gpu0", 1, 0.0), Start("gpu0")]


def test_a_crash_loop_is_given_up_and_the_other_slot_goes_on(fleet: Supervisor) -> None:
    """Each slot is judged alone."""
    at = 0.0
    for _ in range(MAX_DEATHS):
        at += 100.0
        fleet.step(Died("gpu1", -11), at)
        fleet.step(Tick(), at + 60.0)
    assert fleet.step(Died("gpu1", -11), at + 61.0) == [GiveUp("gpu1", -11, MAX_DEATHS + 1)]
    assert fleet.failed == {"gpu1": -11}
    assert fleet.running == ["gpu0"]
    assert not fleet.finished


def test_a_worker_that_cannot_reach_the_broker_is_restarted_without_a_limit(fleet: Supervisor) -> None:
    """An outage of Redis must not empty the slots, however long it lasts."""
    at = 0.0
    for _ in range(10 * MAX_DEATHS):
        at += 100.0
        assert not any(isinstance(a, GiveUp) for a in fleet.step(Died("gpu0", 4), at))
        assert fleet.step(Tick(), at + 60.0) in ([], [Start("gpu0")])


def test_an_outage_does_not_count_as_deaths_of_the_worker(fleet: Supervisor) -> None:
    """Ten times it could not reach the broker or have a process; then it crashes for the first time."""
    for at, code in enumerate([4, 71] * 10):
        fleet.step(Died("gpu0", code), 100.0 * at)
        fleet.step(Tick(), 100.0 * at + 60.0)
    fleet.step(Ready("gpu0"), at=3000.0)
    assert fleet.step(Died("gpu0", -11), at=3010.0) == [Postponed("gpu0", -11, 0.0), Start("gpu0")]


def test_an_overdue_worker_is_aborted_then_killed_then_abandoned_even_if_noticed_late(fleet: Supervisor) -> None:
    """After a suspended host resumes, a worker is overdue by minutes and was neither aborted nor killed yet."""
    assert fleet.step(Overdue("gpu0", 600.0), at=1000.0) == [Abort("gpu0")]
    assert fleet.step(Overdue("gpu0", 601.0), at=1001.0) == []
    assert fleet.step(Overdue("gpu0", 603.0), at=1003.0) == [Kill("gpu0")]
    assert fleet.step(Overdue("gpu0", 604.0), at=1004.0) == []
    assert fleet.step(Overdue("gpu0", 608.0), at=1008.0) == [Abandon("gpu0")]


def test_no_worker_starts_in_a_slot_whose_process_survives_sigkill(fleet: Supervisor) -> None:
    """The process still holds the device, so neither an autoscaler nor an order starts another worker there."""
    for at, by_s in ((0.0, 2.0), (3.0, 5.0), (8.0, 10.0)):
        fleet.step(Overdue("gpu0", by_s), at)
    assert (phase(fleet, "gpu0"), fleet.failed) == (Phase.ABANDONED, {"gpu0": 0})
    assert fleet.step(Added("gpu0"), at=20.0) == []
    assert fleet.step(Ordered("gpu0", again=True, seconds=None), at=20.0) == []
    fleet.step(Died("gpu0", -9), at=30.0)
    assert phase(fleet, "gpu0") is Phase.FAILED


def test_a_misconfigured_worker_is_not_started_again(fleet: Supervisor) -> None:
    """It would end with exit code 3 again."""
    assert fleet.step(Died("gpu0", 3), at=1.0) == [GiveUp("gpu0", 3, 1)]
    assert fleet.step(Died("gpu1", 3), at=1.0) == [GiveUp("gpu1", 3, 1)]
    assert fleet.finished


def test_a_slot_with_a_cordoned_device_stays_empty_until_an_operator_restarts_it(fleet: Supervisor) -> None:
    """This holds for every exit code and from the first death; the other slot goes on."""
    for code in (70, 75, -11):
        assert fleet.step(Died("gpu0", code, cordoned=True), at=1.0) == [GiveUp("gpu0", code, 1)]
        assert fleet.running == ["gpu1"]
        assert fleet.step(Ordered("gpu0", again=True, seconds=None), at=2.0) == [Start("gpu0")]


def test_the_first_stop_drains_the_second_gives_back_and_a_stuck_worker_is_killed(fleet: Supervisor) -> None:
    """One SIGTERM each, then SIGQUIT, then SIGKILL after a delay; a worker that has ended gets no signal."""
    assert fleet.step(StopAsked(), at=1.0) == [Drain("gpu0"), Drain("gpu1")]
    assert fleet.step(Died("gpu0", 0), at=2.0) == []
    assert fleet.step(StopAsked(), at=3.0) == [GiveBackAndEnd("gpu1")]
    assert fleet.wake_at() == 3.0 + GIVE_BACK_S
    assert fleet.step(Tick(), at=3.0 + GIVE_BACK_S) == [Kill("gpu1")]
    assert fleet.step(Died("gpu1", -9), at=6.0) == []
    assert fleet.finished
    assert not fleet.failed


def test_a_slot_that_waits_for_its_restart_is_not_started_after_a_stop(fleet: Supervisor) -> None:
    """A drain starts no workers."""
    fleet.step(Died("gpu0", 1), at=1.0)
    fleet.step(Died("gpu0", 1), at=1.5)
    assert fleet.step(StopAsked(), at=2.0) == [Drain("gpu1")]
    assert fleet.step(Tick(), at=100.0) == []
    assert fleet.running == ["gpu1"]


def test_an_order_ends_one_worker_and_no_other(fleet: Supervisor) -> None:
    """Its slot stays empty, and a task that runs past the deadline is given back."""
    assert fleet.step(Ordered("gpu0", again=False, seconds=30.0), at=1.0) == [Drain("gpu0")]
    assert fleet.is_draining("gpu0")
    assert not fleet.is_draining("gpu1")
    assert fleet.step(Tick(), at=30.9) == []
    assert fleet.step(Tick(), at=31.0) == [GiveBackAndEnd("gpu0")]
    assert fleet.step(Tick(), at=31.0 + GIVE_BACK_S) == [Kill("gpu0")]
    assert fleet.step(Died("gpu0", -9), at=34.0) == []
    assert fleet.running == ["gpu1"]
    assert fleet.step(Ordered("gpu1", again=False, seconds=None), at=35.0) == [Drain("gpu1")]
    assert fleet.step(Died("gpu1", 0), at=1000.0) == []
    assert fleet.finished


def test_a_restart_starts_at_once_and_does_not_count_as_a_death(fleet: Supervisor) -> None:
    """Frequent restarts by an operator must not lead to pauses."""
    for turn in range(3 * MAX_DEATHS):
        at = float(turn)
        assert fleet.step(Ordered("gpu0", again=True, seconds=None), at) == [Drain("gpu0")]
        assert fleet.step(Died("gpu0", 0), at) == [Start("gpu0")]
    assert fleet.slots()[0].restarts == 3 * MAX_DEATHS


def test_a_slot_that_was_given_up_can_be_restarted_or_stopped(fleet: Supervisor) -> None:
    """The operator has corrected the cause, or gives the worker up as well."""
    for slot in ("gpu0", "gpu1"):
        assert fleet.step(Died(slot, 3), at=1.0) == [GiveUp(slot, 3, 1)]
    assert [slot.phase for slot in fleet.slots()] == [Phase.FAILED, Phase.FAILED]
    assert fleet.step(Ordered("gpu0", again=True, seconds=None), at=2.0) == [Start("gpu0")]
    assert fleet.step(Ordered("gpu1", again=False, seconds=None), at=2.0) == []
    assert [slot.phase for slot in fleet.slots()] == [Phase.RUNNING, Phase.STOPPED]


def test_a_worker_without_a_lease_is_killed_and_replaced_however_often(fleet: Supervisor) -> None:
    """Its results are refused, and losing the lease is not its fault."""
    for at in range(20):
        assert fleet.step(Fenced("gpu0"), float(at)) == [Kill("gpu0")]
        assert fleet.step(Died("gpu0", -9), float(at)) == [Start("gpu0")]
        assert fleet.step(Died("gpu0", ExitCode.FENCED), float(at)) == [Start("gpu0")], (
            "or the worker has noticed it first"
        )


def test_a_drain_with_a_deadline_gives_back_what_runs_past_it() -> None:
    """--drain-timeout applies from the first signal; without it a drain has no limit."""
    fleet = Supervisor(["gpu0"], drain_s=10.0)
    fleet.step(Began(), at=0.0)
    assert fleet.step(StopAsked(), at=1.0) == [Drain("gpu0")]
    assert fleet.wake_at() == 11.0
    assert fleet.step(Tick(), at=11.0) == [GiveBackAndEnd("gpu0")]
    assert fleet.step(Tick(), at=11.0 + GIVE_BACK_S) == [Kill("gpu0")]


@pytest.mark.parametrize("code", [1, 2, 3, -11])
def test_a_worker_that_dies_during_an_upgrade_is_restarted_until_the_upgrade_is_over(
    fleet: Supervisor, code: int
) -> None:
    """Pip removes a package before it writes the new one, so exit code 3 says nothing about the model then."""
    at = 0.0
    for _ in range(2 * MAX_DEATHS):
        (postponed, *_) = fleet.step(Died("gpu0", code, mid_upgrade=True), at=at)
        assert isinstance(postponed, Postponed)
        at += postponed.pause_s
        fleet.step(Tick(), at=at)
    assert "gpu0" not in fleet.failed
    assert fleet.step(Died("gpu0", 3), at=at) == [GiveUp("gpu0", 3, 1)], "afterwards it counts again"


def test_a_device_with_a_fault_gets_no_worker_during_an_upgrade_either(fleet: Supervisor) -> None:
    """The upgrade does not cause the faults that the driver reports."""
    assert fleet.step(Died("gpu0", 70, cordoned=True, mid_upgrade=True), at=1.0) == [GiveUp("gpu0", 70, 0)]


def test_a_stop_by_another_process_never_gives_up_a_slot(fleet: Supervisor) -> None:
    """Clients can ask for it any number of times; each time the pause is longer, although the worker was ready."""
    at, pauses = 0.0, []
    for _ in range(3 * MAX_DEATHS):
        fleet.step(Ready("gpu0"), at)
        (postponed, *_) = fleet.step(Died("gpu0", 0), at + 1)
        assert isinstance(postponed, Postponed)
        pauses.append(postponed.pause_s)
        at += 1 + postponed.pause_s
        fleet.step(Tick(), at)
    assert pauses[:5] == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == LONGEST_PAUSE_S
    fleet.step(Ready("gpu0"), at)
    assert fleet.step(Died("gpu0", 0), at + STABLE_S) == [Postponed("gpu0", 0, 0.0), Start("gpu0")]


def test_an_exit_code_of_0_that_no_worker_announced_is_a_crash(fleet: Supervisor) -> None:
    """A model that calls os._exit(0) again and again is a crash loop."""
    at = 0.0
    for _ in range(MAX_DEATHS):
        fleet.step(Died("gpu0", 0, announced=False), at)
        at += 100.0
        fleet.step(Tick(), at)
    assert fleet.step(Died("gpu0", 0, announced=False), at) == [GiveUp("gpu0", 0, MAX_DEATHS + 1)]


def test_time_limits_of_messages_never_give_up_a_slot(fleet: Supervisor) -> None:
    """Each costs its sender a message, which becomes a dead letter; the worker is restarted at once."""
    for at in range(10 * MAX_DEATHS_AT_WORK):
        died = Died("gpu0", 1, announced=False, at_work=True, by_message=True)
        assert fleet.step(died, float(at)) == [Postponed("gpu0", 1, 0.0), Start("gpu0")]
