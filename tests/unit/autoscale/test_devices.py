"""Devices after starts that failed: left alone for longer and longer, and never for good."""

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
    """One device, in a state directory of our own."""
    with closing(Slots(tmp_path)) as slots:
        yield DevicePool([WorkerSpec("cpu0", config.load({}))], slots, TICK_S, "here")


def starts(devices: DevicePool, seconds: float, *, fails: bool) -> list[float]:
    """Start whenever it may be, each of which ends within a tick; give the moments."""
    found, at = [], 0.0
    while (at := at + TICK_S) <= seconds:
        devices.free(dict.fromkeys(["cpu0"], fails), frozenset(), at)
        for spec in devices.available(at):
            assert devices.take(spec, at)
            found.append(at)
    return found


def test_a_start_that_fails_again_and_again_is_tried_ever_more_seldom(devices: DevicePool) -> None:
    """1,800 starts in an hour without it. It never stops: the next model file may load."""
    moments = starts(devices, 3600, fails=True)
    assert len(moments) < 25
    pauses = [b - a for a, b in pairwise(moments)]
    assert pauses == sorted(pauses)
    assert pauses[-1] <= LONGEST_PAUSE_S + TICK_S


def test_one_that_ended_well_may_be_started_at_once(devices: DevicePool) -> None:
    """It was drained, and work has come."""
    assert len(starts(devices, 100, fails=False)) == 50


class Places:
    """A booking that answers as it is told to."""

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


class Hosted:
    """A fleet that notes whom it was to start."""

    def __init__(self) -> None:
        self.added: list[str] = []

    def view(self) -> FleetView:
        return FleetView()

    def add(self, spec: WorkerSpec) -> None:
        self.added.append(spec.name)

    def settle(self) -> None:
        """Nothing to do."""


def turn(devices: DevicePool, places: Places, hosted: Hosted, seen: Observation, most: int = 2) -> None:
    """Take one turn with a policy that has just begun."""
    scaler = Scaler(Policy(Tuning(most=most)), devices, hosted, lambda _: None, most, lambda: seen.at)
    scaler.tick(cast("Any", places), lambda _: seen, lambda _: None)


def test_a_device_whose_place_could_not_be_booked_is_free_again(devices: DevicePool) -> None:
    """Redis went away in between. Held, it would count as a worker that starts, for ever."""
    hosted, nothing = Hosted(), Observation(0.0, 0, 0, ())
    with pytest.raises(ConnectionError):
        turn(devices, Places(fails=True), hosted, nothing)
    assert devices.used == []
    turn(devices, Places(), hosted, nothing)
    assert hosted.added == ["cpu0"]


@pytest.mark.parametrize(("most", "added"), [(2, ["cpu0"]), (1, [])])
def test_a_worker_that_is_stuck_takes_no_place_from_one_that_is_needed(
    devices: DevicePool, most: int, added: list[str]
) -> None:
    """Else the start that was decided would never happen: its place is full. More than --max there are never."""
    stuck = WorkerSample("w", "busy", 0, 0, 0.0, age_s=700.0, running_s=600.0, ready_s=1.0)
    hosted = Hosted()
    turn(devices, Places(["h:cpu9"]), hosted, Observation(0.0, 1, 1, [stuck]), most)
    assert hosted.added == added


def test_a_device_that_cannot_be_locked_is_left_alone_and_the_next_one_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unusable lock file is one device's trouble, not the broker's."""
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
    """Two to the thousandth is more than a float can hold."""
    for at in range(2000):
        (spec,) = devices.available(1e6 * at)
        assert devices.take(spec, 1e6 * at)
        devices.free({"cpu0": True}, frozenset(), 1e6 * at)


def test_a_turn_without_the_broker_tells_what_was_decided_and_touches_nothing(devices: DevicePool) -> None:
    """Two are wanted and one has died, say: without the broker no place can be booked, and nobody is stopped."""
    told: list[Decision] = []
    hosted, now = Hosted(), 0.0
    scaler = Scaler(Policy(Tuning(least=2, most=2)), devices, hosted, told.append, 2, lambda: now)
    one = WorkerSample("w", "idle", 0, 0, 0.0, age_s=600.0, ready_s=1.0, idle_s=500.0)
    scaler.tick(cast("Any", Places(["h:cpu8", "h:cpu9"])), lambda _: Observation(0.0, 0, 0, [one]), lambda _: None)
    hosted.added.clear()
    for now in (2.0, 1000.0, 100_000.0):
        scaler.blind()
        assert (told[-1].at, told[-1].ready, told[-1].live) == (now, None, 1), "as seen last, but for the queue"
        assert (told[-1].want, told[-1].start, told[-1].drain, told[-1].give_up) == (2, 1, (), ())
    assert hosted.added == []


def test_the_place_of_one_that_drains_is_not_offered_to_other_hosts(devices: DevicePool) -> None:
    """It ends between two decisions, and a host that fills what is wanted would start another one for it."""
    idle = WorkerSample("a", "idle", 0, 0, 0.0, age_s=600.0, ready_s=1.0)
    seen = Observation(0.0, 0, 0, [idle, WorkerSample("b", "draining", 0, 0, 0.0, age_s=600.0, ready_s=1.0)])
    places = Places(["h:cpu8", "h:cpu9"])
    turn(devices, places, Hosted(), seen)
    assert places.wanted == 1
