"""Devices after failed starts: the pauses grow, but the device is never given up."""

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

TICK_S = 2.0


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[DevicePool]:
    """Return one device, in a private state directory."""
    with closing(Slots(tmp_path)) as slots:
        yield DevicePool([WorkerSpec("cpu0", config.load({}))], slots, TICK_S, "here")


def start_times(devices: DevicePool, seconds: float, *, fails: bool) -> list[float]:
    """Start a worker whenever that is allowed, each of which ends within a tick; return the times of the starts."""
    found, at = [], 0.0
    while (at := at + TICK_S) <= seconds:
        devices.free(dict.fromkeys(["cpu0"], fails), frozenset(), at)
        for spec in devices.available(at):
            assert devices.take(spec, at)
            found.append(at)
    return found


def test_starts_that_fail_repeatedly_get_rarer(devices: DevicePool) -> None:
    """Otherwise there would be 1,800 starts in an hour. They never stop, because the next model file may load."""
    moments = start_times(devices, 3600, fails=True)
    assert len(moments) < 25
    pauses = [b - a for a, b in pairwise(moments)]
    assert pauses == sorted(pauses)
    assert pauses[-1] <= LONGEST_PAUSE_S + TICK_S


def test_a_worker_that_ended_normally_may_start_again_at_once(devices: DevicePool) -> None:
    """It was drained, and new tasks have come."""
    assert len(start_times(devices, 100, fails=False)) == 50


class FakePlaces:
    """A booking with given answers."""

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


class FakeSupervisor:
    """A supervisor that records the workers that it is asked to start."""

    def __init__(self) -> None:
        self.vacant: dict[str, bool] = {}
        self.cordoned: frozenset[str] = frozenset()
        self.stopping = False
        self.added: list[str] = []

    def add(self, spec: WorkerSpec) -> None:
        self.added.append(spec.name)

    def settle(self) -> None:
        """Do nothing."""


def turn(devices: DevicePool, places: FakePlaces, hosted: FakeSupervisor, seen: Observation, most: int = 2) -> None:
    """Take one turn with a policy that has just begun."""
    scaler = Scaler(Policy(Tuning(most=most)), devices, hosted, lambda _: None, most, lambda: seen.at)
    scaler.tick(cast("Any", places), lambda _: seen, lambda _: None)


def test_a_device_whose_place_could_not_be_booked_is_free_again(devices: DevicePool) -> None:
    """Redis went away in between. Otherwise the device would count as a starting worker without end."""
    hosted, nothing = FakeSupervisor(), Observation(0.0, 0, 0, ())
    with pytest.raises(ConnectionError):
        turn(devices, FakePlaces(fails=True), hosted, nothing)
    assert devices.used == []
    turn(devices, FakePlaces(), hosted, nothing)
    assert hosted.added == ["cpu0"]


@pytest.mark.parametrize(("most", "added"), [(2, ["cpu0"]), (1, [])])
def test_a_stuck_worker_does_not_block_the_start_of_another(devices: DevicePool, most: int, added: list[str]) -> None:
    """Its place is full, so the decided start would never happen. There are still never more than --max."""
    stuck = WorkerSample("w", "busy", 0, 0, 0.0, age_s=700.0, running_s=600.0, ready_s=1.0)
    hosted = FakeSupervisor()
    turn(devices, FakePlaces(["h:cpu9"]), hosted, Observation(0.0, 1, 1, [stuck]), most)
    assert hosted.added == added


def test_a_device_that_cannot_be_locked_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unusable lock file is an error of one device, not of the broker."""
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


def test_a_device_that_fails_for_days_is_still_tried(devices: DevicePool) -> None:
    """Two to the thousandth is more than a float can represent."""
    for at in range(2000):
        (spec,) = devices.available(1e6 * at)
        assert devices.take(spec, 1e6 * at)
        devices.free({"cpu0": True}, frozenset(), 1e6 * at)


def test_a_turn_without_the_broker_returns_the_decision_and_changes_nothing(devices: DevicePool) -> None:
    """For example two workers are wanted and one has died.

    Without the broker no place can be booked, and no worker is stopped.
    """
    told: list[Decision] = []
    hosted, now = FakeSupervisor(), 0.0
    scaler = Scaler(Policy(Tuning(least=2, most=2)), devices, hosted, told.append, 2, lambda: now)
    one = WorkerSample("w", "idle", 0, 0, 0.0, age_s=600.0, ready_s=1.0, idle_s=500.0)
    scaler.tick(cast("Any", FakePlaces(["h:cpu8", "h:cpu9"])), lambda _: Observation(0.0, 0, 0, [one]), lambda _: None)
    hosted.added.clear()
    for now in (2.0, 1000.0, 100_000.0):
        scaler.blind()
        assert (told[-1].at, told[-1].ready, told[-1].live) == (now, None, 1), "as seen last, but for the queue"
        assert (told[-1].want, told[-1].start, told[-1].drain, told[-1].give_up) == (2, 1, (), ())
    assert hosted.added == []


def test_the_place_of_a_draining_worker_is_not_offered_to_other_hosts(devices: DevicePool) -> None:
    """It ends between two decisions. A host that fills free places would start another worker for it."""
    idle = WorkerSample("a", "idle", 0, 0, 0.0, age_s=600.0, ready_s=1.0)
    seen = Observation(0.0, 0, 0, [idle, WorkerSample("b", "draining", 0, 0, 0.0, age_s=600.0, ready_s=1.0)])
    places = FakePlaces(["h:cpu8", "h:cpu9"])
    turn(devices, places, FakeSupervisor(), seen)
    assert places.wanted == 1
