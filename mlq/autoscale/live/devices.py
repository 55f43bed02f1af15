"""Devices: what this host has for an autoscaler. Each is one worker's, or free, or to be left alone for a while."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from mlq.autoscale.live.signals import place
from mlq.errors import SlotTaken
from mlq.supervisor.errors import DeviceLockUnusable, DeviceTaken

if TYPE_CHECKING:
    from mlq.supervisor.devices.slots import Slots
    from mlq.supervisor.spec import WorkerSpec

LONGEST_PAUSE_S: Final = 300.0
"""Between two starts on a device whose worker was given up, or never became ready."""

_DOUBLED: Final = 16
"""How often a pause is doubled: far beyond the longest, and far from what a float can hold."""

log = logging.getLogger("mlq.autoscale")


class DevicePool:
    """The devices of one host that an autoscaler may use; after a start that failed it waits `pause_s`, then longer."""

    def __init__(self, pool: Sequence[WorkerSpec], slots: Slots, pause_s: float, host: str) -> None:
        self._pool = {spec.name: spec for spec in pool}
        self._slots = slots
        self._pause_s = pause_s
        self._host = host
        self._used: set[str] = set()
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    @property
    def used(self) -> list[str]:
        """Places of workers that run or start."""
        return sorted(map(self.place, self._used))

    def place(self, slot: str) -> str:
        """Name a slot's place among all hosts."""
        return place(self._host, slot)

    def give_back(self, slot: str) -> None:
        """Let go of a device on which nothing was started."""
        self._used.discard(slot)
        self._slots.free(slot)

    def take(self, spec: WorkerSpec, at: float) -> bool:
        """Lock a device; False if another process of this host has it: two autoscalers never book one twice.

        One that cannot be locked is left alone for a while.
        """
        try:
            self._slots.take([spec.name], spec.gpu)
        except (SlotTaken, DeviceTaken):
            return False
        except DeviceLockUnusable as exc:
            log.warning("%s is left alone for %g s: %s", spec.name, LONGEST_PAUSE_S, exc.message)
            self._not_before[spec.name] = at + LONGEST_PAUSE_S
            return False
        self._used.add(spec.name)
        return True

    def free(self, vacant: Mapping[str, bool], cordoned: frozenset[str], at: float) -> list[str]:
        """Let go of devices whose workers have ended for good, and give their places.

        One that failed is left alone, each time for longer. One at fault stays ours, so that nobody starts on it.
        """
        left = [slot for slot in self._used if slot in vacant]
        for slot in left:
            self._used.discard(slot)
            if slot in cordoned:
                self._not_before[slot] = math.inf
                continue
            self._slots.free(slot)
            self._failures[slot] = min(_DOUBLED, self._failures.get(slot, 0) + 1) if vacant[slot] else 0
            pause = min(LONGEST_PAUSE_S, self._pause_s * 2 ** self._failures[slot]) if vacant[slot] else 0.0
            self._not_before[slot] = at + pause
        return [*map(self.place, left)]

    def available(self, at: float) -> list[WorkerSpec]:
        """Give the devices on which a worker may be started now."""
        return [
            spec
            for name, spec in self._pool.items()
            if name not in self._used and at >= self._not_before.get(name, 0.0)
        ]
