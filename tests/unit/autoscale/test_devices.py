"""Devices after starts that failed: left alone for longer and longer, and never for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from mlq import config
from mlq.autoscale.devices import LONGEST_PAUSE_S, Devices
from mlq.fleet.slots import Slots
from mlq.fleet.spec import WorkerSpec

TICK_S = 2.0


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Devices]:
    """One device, in a state directory of our own."""
    with closing(Slots(tmp_path)) as slots:
        yield Devices([WorkerSpec("cpu0", config.load({}))], slots, TICK_S, "here")


def starts(devices: Devices, seconds: float, *, fails: bool) -> list[float]:
    """Start whenever it may be, each of which ends within a tick; give the moments."""
    found, at = [], 0.0
    while (at := at + TICK_S) <= seconds:
        devices.free(dict.fromkeys(["cpu0"], fails), frozenset(), at)
        for spec in devices.available(at):
            assert devices.take(spec)
            found.append(at)
    return found


def test_a_start_that_fails_again_and_again_is_tried_ever_more_seldom(devices: Devices) -> None:
    """1,800 starts in an hour without it. It never stops: the next model file may load."""
    moments = starts(devices, 3600, fails=True)
    assert len(moments) < 25
    pauses = [b - a for a, b in pairwise(moments)]
    assert pauses == sorted(pauses)
    assert pauses[-1] <= LONGEST_PAUSE_S + TICK_S


def test_one_that_ended_well_may_be_started_at_once(devices: Devices) -> None:
    """It was drained, and work has come."""
    assert len(starts(devices, 100, fails=False)) == 50
