"""Scaler: one autoscaler's turn: renew what it holds, decide if it leads, start workers while places are left."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

from mlq.autoscale.policy.observation import Observation

if TYPE_CHECKING:
    from mlq.autoscale.live.devices import DevicePool
    from mlq.autoscale.policy.policy import Deciding, Decision
    from mlq.store.workers.booking import Booking
    from mlq.supervisor.spec import WorkerSpec


class Workers(Protocol):
    """What it needs of a fleet."""

    @property
    def vacant(self) -> dict[str, bool]:
        """Slots whose worker has ended for good: whether it failed."""

    @property
    def cordoned(self) -> frozenset[str]:
        """Slots whose last worker died of a fault of its device."""

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""

    def add(self, spec: WorkerSpec) -> None:
        """Start one more worker."""

    def settle(self) -> None:
        """Take no more workers, and end with the last of those that are there."""


class Scaler:
    """Scales one queue with the devices of one host, in agreement with the autoscalers of others.

    `look` observes the queue, given the places of the workers that autoscalers run; `end` ends workers: those that are
    drained finish what they run, those that are given up have taken too long to start.
    """

    def __init__(
        self,
        policy: Deciding,
        devices: DevicePool,
        fleet: Workers,
        tell: Callable[[Decision], None],
        most: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._devices = devices
        self._fleet = fleet
        self._tell = tell
        self._most = most
        self._clock = clock
        self._last = Observation(0.0, None, None, ())

    def tick(
        self, booking: Booking, look: Callable[[Collection[str]], Observation], end: Callable[[Decision], None]
    ) -> None:
        """Take a turn. Raises what Redis, `look` and `end` raise: what was half done then, the next turn mends."""
        self._let_go(booking)
        standing = booking.seek(self._devices.used)
        self._last = look(standing.members)
        want = standing.want or 0
        if standing.leads:
            decision = self._policy.decide(self._last)
            want = self._wanted(decision, len(standing.members))
            booking.want(want)
            end(decision)
            self._tell(decision)
        self._fill(booking, want - len(standing.members))

    def blind(self) -> None:
        """Take a turn without the broker: as seen last, but for the queue. The policy knows what blindness means."""
        self._tell(self._policy.decide(Observation(self._clock(), None, None, self._last.workers)))

    def hold(self, booking: Booking) -> int:
        """Keep the places of workers that go on without an autoscaler, for the next one to find; tell how many."""
        self._let_go(booking)
        booking.resign(self._devices.used)
        self._fleet.settle()
        return len(self._devices.used)

    def leave(self, booking: Booking) -> None:
        """Give up every place, and the lead."""
        booking.leave(self._devices.used)
        booking.resign()

    def _let_go(self, booking: Booking) -> None:
        booking.leave(self._devices.free(self._fleet.vacant, self._fleet.cordoned, self._clock()))

    def _wanted(self, decision: Decision, members: int) -> int:
        """Give how many workers autoscalers are to run in all. The others count, too, and there are never too many.

        A place whose worker is of no use (stuck in a task, hung, draining) is none that could be filled: another one is
        needed for it, as long as there may be more. But only where somebody is to be started at all: when a draining
        worker has gone, another host would fill the place before the next decision.
        """
        there = [w for w in self._last.workers if w.state in {"starting", "idle", "busy"}]
        useless = {*decision.stuck, *decision.give_up}
        mine = sum(w.mine and w.id not in useless for w in there)
        others = sum(not w.mine for w in there)
        others_of_use = sum(not w.mine and w.id not in useless for w in there)
        besides = max(0, members - mine) if decision.start else 0
        return max(0, min(decision.want - others_of_use + besides, self._most - others))

    def _fill(self, booking: Booking, places: int) -> None:
        """Start workers on free devices while there are places for them.

        A device is locked before its place is booked. The other way round a place would be given up again that is
        that of the worker which has the device: one that another autoscaler of this host has started.
        """
        now = self._clock()
        for spec in self._devices.available(now) if places > 0 else ():
            if not self._devices.take(spec, now):
                continue
            try:
                booked = booking.book(self._devices.place(spec.name))
            except BaseException:  # else it would be held, and counted as a worker that starts, for ever
                self._devices.give_back(spec.name)
                raise
            if not booked:
                self._devices.give_back(spec.name)
                return
            self._fleet.add(spec)
