"""Devices after failed starts: the pauses grow, and never become infinite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest

from mlq.autoscale.live.devices import LONGEST_PAUSE_S, DevicePool
from mlq.autoscale.live.scaler import Scaler
from mlq.autoscale.policy.observation import Observation, WorkerSample
from mlq.autoscale.policy.policy import Decision, Policy, Tuning
from mlq.settings import config
from mlq.store.workers.booking import Standing
from mlq.supervisor.devices.slots import Slots
from mlq.supervisor.errors import DeviceLockUnusable
from mlq.supervisor.spec import WorkerSpec
from mlq.supervisor.view import FleetView

TICK_S = 2.0


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[DevicePool]:
    """One device, in a state directory of the test."""
    with closing(Slots(tmp_path)) as slots:
        yield DevicePool([WorkerSpec("cpu0", config.load({}))], slots, TICK_S, "here")


def starts(devices: DevicePool, seconds: float, *, fails: bool) -> list[float]:
    """Start a worker whenever it is allowed, each of which ends within a tick; return the times."""
    found, at = [], 0.0
    while (at := at + TICK_S) <= seconds:
        devices.free(dict.fromkeys(["cpu0"], fails), frozenset(), at)
        for spec in devices.available(at):
            assert devices.take(spec, at)
            found.append(at)
    return found


def test_the_pause_grows_with_each_start_that_fails(devices: DevicePool) -> None:
    """Without it there were 1,800 starts per hour. The starts never end, because the next model file may load."""
    moments = starts(devices, 3600, fails=True)
    assert len(moments) < 25
    pauses = [b - a for a, b in pairwise(moments)]
    assert pauses == sorted(pauses)
    assert pauses[-1] <= LONGEST_PAUSE_S + TICK_S


def test_after_an_orderly_end_the_next_start_is_allowed_at_once(devices: DevicePool) -> None:
    """The worker was drained, and now there is work again."""
    assert len(starts(devices, 100, fails=False)) == 50


class Places:
    """Stands in for the booking of places."""

    def __init__(self, members: Sequence[str] = (), *, fails: bool = False) -> None:
        self.members = list(members)
        self.fails = fails
        self.wanted = 0

    def seek(self, used: Sequence[str]) -> Standing:
        del used
        return Standing(leads=True, members=frozenset(self.members), want=self.wanted)

    def want(self, workers: int) -> None:
        self.wanted = workers

    def book(self, place: str) -> bool:
        if self.fails:
            raise ConnectionError
        if len(self.members) < self.wanted:
            self.members.append(place)
            return True
        return False

    def leave(self, places: Sequence[str]) -> None:
        del places


class FakeFleet:
    """A fleet that records the workers that it is asked to start."""

    def __init__(self) -> None:
        self.added: list[str] = []

    def view(self) -> FleetView:
        return FleetView()

    def add(self, spec: WorkerSpec) -> None:
        self.added.append(spec.name)

    def settle(self) -> None:
        """Do nothing."""


def turn(devices: DevicePool, places: Places, fleet: FakeFleet, seen: Observation, most: int = 2) -> None:
    """Take one turn with a new policy."""
    scaler = Scaler(Policy(Tuning(most=most)), devices, fleet, lambda _: None, most, lambda: seen.at)
    scaler.tick(cast("Any", places), lambda _: seen, lambda _: None)


def test_a_device_whose_place_could_not_be_booked_is_free_again(devices: DevicePool) -> None:
    """Redis went away in between. A device that stayed locked would count as a starting worker without end."""
    fleet, nothing = FakeFleet(), Observation(0.0, 0, 0, ())
    with pytest.raises(ConnectionError):
        turn(devices, Places(fails=True), fleet, nothing)
    assert devices.used == []
    turn(devices, Places(), fleet, nothing)
    assert fleet.added == ["cpu0"]


@pytest.mark.parametrize(("most", "added"), [(2, ["cpu0"]), (1, [])])
def test_a_worker_that_is_stuck_takes_no_place_from_one_that_is_needed(
    devices: DevicePool, most: int, added: list[str]
) -> None:
    """Otherwise the decided start would never happen, because no place is free. --max is never exceeded."""
    stuck = WorkerSample("w", "busy", 0, 0, 0.0, age_s=700.0, running_s=600.0, ready_s=1.0)
    fleet = FakeFleet()
    turn(devices, Places(["h:cpu9"]), fleet, Observation(0.0, 1, 1, [stuck]), most)
    assert fleet.added == added


def test_a_device_that_cannot_be_locked_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unusable lock file concerns one device; it must not look like a failure of the broker."""
    with closing(Slots(tmp_path)) as slots:
        pool = DevicePool([WorkerSpec(name, config.load({})) for name in ("cpu0", "cpu1")], slots, TICK_S, "here")
        take = slots.take

        def refuse(names: Sequence[str], *more: Any) -> list[str]:
            if "cpu0" in names:
                raise DeviceLockUnusable(device="cpu0", path=tmp_path, reason="y")
            return take(names, *more)

        monkeypatch.setattr(slots, "take", refuse)
        assert [pool.take(spec, 0.0) for spec in pool.available(0.0)] == [False, True]
        assert [spec.name for spec in pool.available(LONGEST_PAUSE_S - 1)] == []


def test_a_device_that_fails_for_days_is_tried_again(devices: DevicePool) -> None:
    """The pause doubles, and 2 to the power of 1,000 is too large for a float."""
    for at in range(2000):
        (spec,) = devices.available(1e6 * at)
        assert devices.take(spec, 1e6 * at)
        devices.free({"cpu0": True}, frozenset(), 1e6 * at)


def test_a_turn_without_the_broker_reports_a_decision_and_changes_nothing(devices: DevicePool) -> None:
    """If two are wanted and one has died, no place can be booked without the broker, and no worker is stopped."""
    reported: list[Decision] = []
    fleet, now = FakeFleet(), 0.0
    scaler = Scaler(Policy(Tuning(least=2, most=2)), devices, fleet, reported.append, 2, lambda: now)
    one = WorkerSample("w", "idle", 0, 0, 0.0, age_s=600.0, ready_s=1.0, idle_s=500.0)
    scaler.tick(cast("Any", Places(["h:cpu8", "h:cpu9"])), lambda _: Observation(0.0, 0, 0, [one]), lambda _: None)
    fleet.added.clear()
    for now in (2.0, 1000.0, 100_000.0):
        scaler.tick_without_broker()
        assert (reported[-1].at, reported[-1].ready, reported[-1].live) == (now, None, 1), (
            "the workers as last seen, and an unknown queue"
        )
        assert (reported[-1].want, reported[-1].start, reported[-1].drain, reported[-1].give_up) == (2, 1, (), ())
    assert fleet.added == []


def test_the_place_of_a_draining_worker_is_not_offered_to_other_hosts(devices: DevicePool) -> None:
    """It ends between two decisions, and a host that fills free places would start another one instead."""
    idle = WorkerSample("a", "idle", 0, 0, 0.0, age_s=600.0, ready_s=1.0)
    seen = Observation(0.0, 0, 0, [idle, WorkerSample("b", "draining", 0, 0, 0.0, age_s=600.0, ready_s=1.0)])
    places = Places(["h:cpu8", "h:cpu9"])
    turn(devices, places, FakeFleet(), seen)
    assert places.wanted == 1
