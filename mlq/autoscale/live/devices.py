"""The devices of this host that an autoscaler may use: each is in use, free, or paused after a failure."""

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
"""Longest pause (s) before the next start on a device whose worker was given up, or never became ready."""

_DOUBLED: Final = 16
"""Most doublings of a pause: more than the longest pause needs, and far from the limits of a float."""

log = logging.getLogger("mlq.autoscale")


class DevicePool:
    """The devices of one host that an autoscaler may use.

    After a failed start a device is paused for `pause_s`, and longer after each further failure.
    """

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
        """The places of workers that run or start."""
        return sorted(map(self.place, self._used))

    def place(self, slot: str) -> str:
        """Return the place of a slot: its name among all hosts."""
        return place(self._host, slot)

    def give_back(self, slot: str) -> None:
        """Free a device on which no worker was started."""
        self._used.discard(slot)
        self._slots.free(slot)

    def take(self, spec: WorkerSpec, at: float) -> bool:
        """Lock a device; return False if another process of this host uses it, or if it cannot be locked.

        A device that cannot be locked is paused.
        """
        try:
            self._slots.take([spec.name], spec.gpu)
        except (SlotTaken, DeviceTaken):
            return False
        except DeviceLockUnusable as exc:
            log.warning(
                "%s is not used for %g s: %s",
                spec.name,
                LONGEST_PAUSE_S,
                exc.message,
                extra={"action": "device_paused"},
            )
            self._not_before[spec.name] = at + LONGEST_PAUSE_S
            return False
        self._used.add(spec.name)
        return True

    def free(self, vacant: Mapping[str, bool], cordoned: frozenset[str], at: float) -> list[str]:
        """Free devices whose workers have ended for good, and return their places.

        A device whose worker failed is paused, each time for longer. A device with a fault stays locked, so that no
        other process starts a worker on it.

        Args:
            vacant: Slots whose worker has ended for good: True if it failed.
            cordoned: Slots whose device has a fault.
            at: Now (seconds, monotonic).
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
        """Return the devices on which a worker may be started now."""
        return [
            spec
            for name, spec in self._pool.items()
            if name not in self._used and at >= self._not_before.get(name, 0.0)
        ]
