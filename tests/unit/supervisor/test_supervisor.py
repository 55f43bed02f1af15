"""The supervisor's decisions, driven by histories on a clock of the test's own."""

from __future__ import annotations

import pytest

from mlq.engine.engine import FENCED
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
    Supervisor,
)


@pytest.fixture
def fleet() -> Supervisor:
    """Two slots, both running since 0."""
    fleet = Supervisor(["gpu0", "gpu1"])
    assert fleet.step(Began(), at=0.0) == [Start("gpu0"), Start("gpu1")]
    return fleet


def test_the_first_death_restarts_at_once_and_the_next_ones_wait_longer(fleet: Supervisor) -> None:
    """Backoff doubles, and the other child is never touched."""
    assert fleet.step(Died("gpu0", -9), at=10.0) == [Postponed("gpu0", -9, 0.0), Start("gpu0")]
    assert fleet.step(Died("gpu0", -9), at=12.0) == [Postponed("gpu0", -9, 1.0)]
    assert fleet.wake_at() == 13.0
    assert fleet.step(Tick(), at=12.9) == []
    assert fleet.step(Tick(), at=13.0) == [Start("gpu0")]
    assert fleet.step(Died("gpu0", -9), at=14.0) == [Postponed("gpu0", -9, 2.0)]


def test_a_worker_that_was_healthy_for_long_dies_for_the_first_time_again(fleet: Supervisor) -> None:
    """Deaths count in a row, not since the beginning of time."""
    fleet.step(Died("gpu0", 1), at=1.0)
    fleet.step(Died("gpu0", 1), at=2.0)
    fleet.step(Tick(), at=3.0)
    fleet.step(Ready("gpu0"), at=4.0)
    assert fleet.step(Died("gpu0", 1), at=4.0 + STABLE_S) == [Postponed("gpu0", 1, 0.0), Start("gpu0")]


def test_a_crash_loop_is_given_up_and_the_other_slot_goes_on(fleet: Supervisor) -> None:
    """The verdict is the slot's own."""
    at = 0.0
    for _ in range(MAX_DEATHS):
        at += 100.0
        fleet.step(Died("gpu1", -11), at)
        fleet.step(Tick(), at + 60.0)
    assert fleet.step(Died("gpu1", -11), at + 61.0) == [GiveUp("gpu1", -11, MAX_DEATHS + 1)]
    assert fleet.failed == {"gpu1": -11}
    assert fleet.running == ["gpu0"]
    assert not fleet.finished


def test_a_worker_that_finds_no_broker_is_tried_for_ever(fleet: Supervisor) -> None:
    """An outage of Redis must not empty the slots that it outlasts."""
    at = 0.0
    for _ in range(10 * MAX_DEATHS):
        at += 100.0
        assert not any(isinstance(a, GiveUp) for a in fleet.step(Died("gpu0", 4), at))
        assert fleet.step(Tick(), at + 60.0) in ([], [Start("gpu0")])


def test_an_outage_is_not_held_against_a_worker_afterwards(fleet: Supervisor) -> None:
    """It found no broker, or the system had no process for it, ten times over; then it crashes, once."""
    for at, code in enumerate([4, 71] * 10):
        fleet.step(Died("gpu0", code), 100.0 * at)
        fleet.step(Tick(), 100.0 * at + 60.0)
    fleet.step(Ready("gpu0"), at=3000.0)
    assert fleet.step(Died("gpu0", -11), at=3010.0) == [Postponed("gpu0", -11, 0.0), Start("gpu0")]


def test_an_overdue_worker_is_treated_step_by_step_however_late_it_is_noticed(fleet: Supervisor) -> None:
    """A host that slept finds it overdue by minutes: nobody has aborted or killed it yet."""
    assert fleet.step(Overdue("gpu0", 600.0), at=1000.0) == [Abort("gpu0")]
    assert fleet.step(Overdue("gpu0", 601.0), at=1001.0) == []
    assert fleet.step(Overdue("gpu0", 603.0), at=1003.0) == [Kill("gpu0")]
    assert fleet.step(Overdue("gpu0", 604.0), at=1004.0) == []
    assert fleet.step(Overdue("gpu0", 608.0), at=1008.0) == [Abandon("gpu0")]


def test_nothing_is_started_where_a_process_survives_its_kill(fleet: Supervisor) -> None:
    """It still has the device: not for an autoscaler, not by an order. When it has ended the slot is a failed one."""
    for at, by_s in ((0.0, 2.0), (3.0, 5.0), (8.0, 10.0)):
        fleet.step(Overdue("gpu0", by_s), at)
    assert (fleet.vacant, fleet.failed) == ({}, {"gpu0": 0})
    assert fleet.step(Added("gpu0"), at=20.0) == []
    assert fleet.step(Ordered("gpu0", again=True, seconds=None), at=20.0) == []
    fleet.step(Died("gpu0", -9), at=30.0)
    assert fleet.vacant == {"gpu0": True}


def test_a_misconfigured_worker_is_not_started_again(fleet: Supervisor) -> None:
    """Exit code 3 comes back the same however often it is tried."""
    assert fleet.step(Died("gpu0", 3), at=1.0) == [GiveUp("gpu0", 3, 1)]
    assert fleet.step(Died("gpu1", 3), at=1.0) == [GiveUp("gpu1", 3, 1)]
    assert fleet.finished


def test_a_slot_with_a_cordoned_device_is_left_empty_until_an_operator_wants_it_again(fleet: Supervisor) -> None:
    """Whatever the exit code says, and however few its deaths; the other slot goes on."""
    for code in (70, 75, -11):
        assert fleet.step(Died("gpu0", code, cordoned=True), at=1.0) == [GiveUp("gpu0", code, 1)]
        assert fleet.running == ["gpu1"]
        assert fleet.step(Ordered("gpu0", again=True, seconds=None), at=2.0) == [Start("gpu0")]


def test_the_first_stop_drains_the_second_lets_go_and_what_is_stuck_is_killed(fleet: Supervisor) -> None:
    """One SIGTERM each, then SIGQUIT, then SIGKILL after its time; who has ended gets no signal."""
    assert fleet.step(StopAsked(), at=1.0) == [Drain("gpu0"), Drain("gpu1")]
    assert fleet.step(Died("gpu0", 0), at=2.0) == []
    assert fleet.step(StopAsked(), at=3.0) == [GiveBackAndEnd("gpu1")]
    assert fleet.wake_at() == 3.0 + GIVE_BACK_S
    assert fleet.step(Tick(), at=3.0 + GIVE_BACK_S) == [Kill("gpu1")]
    assert fleet.step(Died("gpu1", -9), at=6.0) == []
    assert fleet.finished
    assert not fleet.failed


def test_a_slot_that_waits_for_its_restart_is_not_started_after_a_stop(fleet: Supervisor) -> None:
    """Nobody wants a new worker during a drain."""
    fleet.step(Died("gpu0", 1), at=1.0)
    fleet.step(Died("gpu0", 1), at=1.5)
    assert fleet.step(StopAsked(), at=2.0) == [Drain("gpu1")]
    assert fleet.step(Tick(), at=100.0) == []
    assert fleet.running == ["gpu1"]


def test_an_order_ends_one_worker_and_no_other(fleet: Supervisor) -> None:
    """Its slot stays empty, and what runs past the deadline is given back."""
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


def test_a_restart_starts_at_once_and_is_no_death_in_a_row(fleet: Supervisor) -> None:
    """Whoever restarts often must not end in backoff."""
    for turn in range(3 * MAX_DEATHS):
        at = float(turn)
        assert fleet.step(Ordered("gpu0", again=True, seconds=None), at) == [Drain("gpu0")]
        assert fleet.step(Died("gpu0", 0), at) == [Start("gpu0")]
    assert fleet.restarts("gpu0") == 3 * MAX_DEATHS


def test_a_slot_that_was_given_up_can_be_restarted_or_stopped(fleet: Supervisor) -> None:
    """The operator has mended what was wrong, or gives it up, too."""
    for slot in ("gpu0", "gpu1"):
        assert fleet.step(Died(slot, 3), at=1.0) == [GiveUp(slot, 3, 1)]
    assert fleet.empty == {"gpu0": True, "gpu1": True}
    assert fleet.step(Ordered("gpu0", again=True, seconds=None), at=2.0) == [Start("gpu0")]
    assert fleet.step(Ordered("gpu1", again=False, seconds=None), at=2.0) == []
    assert fleet.empty == {}


def test_a_worker_without_a_lease_is_killed_and_replaced_however_often(fleet: Supervisor) -> None:
    """What it does is void, its device is better used by its successor, and it was no fault of its own."""
    for at in range(20):
        assert fleet.step(Fenced("gpu0"), float(at)) == [Kill("gpu0")]
        assert fleet.step(Died("gpu0", -9), float(at)) == [Start("gpu0")]
        assert fleet.step(Died("gpu0", FENCED), float(at)) == [Start("gpu0")], "or it has heard of it first"


def test_a_drain_with_a_deadline_gives_back_what_runs_past_it() -> None:
    """--drain-timeout holds for the first signal; without it a drain takes as long as it takes."""
    fleet = Supervisor(["gpu0"], drain_s=10.0)
    fleet.step(Began(), at=0.0)
    assert fleet.step(StopAsked(), at=1.0) == [Drain("gpu0")]
    assert fleet.wake_at() == 11.0
    assert fleet.step(Tick(), at=11.0) == [GiveBackAndEnd("gpu0")]
    assert fleet.step(Tick(), at=11.0 + GIVE_BACK_S) == [Kill("gpu0")]


@pytest.mark.parametrize("code", [1, 2, 3, -11])
def test_a_worker_that_dies_in_the_middle_of_an_upgrade_is_tried_for_as_long_as_that_takes(
    fleet: Supervisor, code: int
) -> None:
    """Pip removes a package before it writes the new one: an exit code of 3 then says nothing about the model."""
    at = 0.0
    for _ in range(2 * MAX_DEATHS):
        (postponed, *_) = fleet.step(Died("gpu0", code, mid_upgrade=True), at=at)
        assert isinstance(postponed, Postponed)
        at += postponed.pause_s
        fleet.step(Tick(), at=at)
    assert "gpu0" not in fleet.failed
    assert fleet.step(Died("gpu0", 3), at=at) == [GiveUp("gpu0", 3, 1)], "afterwards it counts again"


def test_a_sick_device_gets_no_worker_in_the_middle_of_an_upgrade_either(fleet: Supervisor) -> None:
    """What the driver says of a device is not the upgrade's fault."""
    assert fleet.step(Died("gpu0", 70, cordoned=True, mid_upgrade=True), at=1.0) == [GiveUp("gpu0", 70, 0)]


def test_an_end_that_some_other_process_asked_for_gives_no_slot_up(fleet: Supervisor) -> None:
    """Clients can ask for it as often as they like; each time the slot waits longer, though it was ready."""
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


def test_limits_of_messages_give_no_slot_up(fleet: Supervisor) -> None:
    """Each costs its sender a message, which is a dead letter; the worker is back at once."""
    for at in range(10 * MAX_DEATHS_AT_WORK):
        died = Died("gpu0", 1, announced=False, at_work=True, by_message=True)
        assert fleet.step(died, float(at)) == [Postponed("gpu0", 1, 0.0), Start("gpu0")]
