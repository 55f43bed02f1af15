"""Scaler: one turn of an autoscaler. It renews its places, decides if it leads, and starts workers on free places."""

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
    from mlq.supervisor.view import FleetView


class Workers(Protocol):
    """The part of a fleet's handle that a scaler uses."""

    def view(self) -> FleetView:
        """Return the present state of the fleet."""

    def add(self, spec: WorkerSpec) -> None:
        """Start one more worker."""

    def settle(self) -> None:
        """Accept no more workers, and end with the last of the present ones."""


class Scaler:
    """Scales one queue with the devices of one host, in agreement with the autoscalers of other hosts.

    Args:
        policy: Decides how many workers the queue needs.
        devices: The devices of this host.
        fleet: Runs the workers.
        report: Called with each decision.
        most: Most workers of the queue.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        policy: Deciding,
        devices: DevicePool,
        fleet: Workers,
        report: Callable[[Decision], None],
        most: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._devices = devices
        self._fleet = fleet
        self._report = report
        self._most = most
        self._clock = clock
        self._last = Observation(0.0, None, None, ())

    def tick(
        self, booking: Booking, look: Callable[[Collection[str]], Observation], end: Callable[[Decision], None]
    ) -> None:
        """Take a turn. Raises what Redis, `look` and `end` raise; the next turn completes what was left half done.

        Args:
            booking: The places of all autoscalers of the queue.
            look: Observes the queue, given the places of the workers that autoscalers run.
            end: Orders workers to end: drained ones finish their tasks, given-up ones have taken too long to start.
        """
        self._free_ended(booking)
        standing = booking.seek(self._devices.used)
        self._last = look(standing.members)
        want = standing.want or 0
        if standing.leads:
            decision = self._policy.decide(self._last)
            want = self._wanted(decision, len(standing.members))
            booking.want(want)
            end(decision)
            self._report(decision)
        self._fill(booking, want - len(standing.members))

    def tick_without_broker(self) -> None:
        """Report the policy's decision for an unknown queue and the workers as last seen; start and end no worker."""
        self._report(self._policy.decide(Observation(self._clock(), None, None, self._last.workers)))

    def hold(self, booking: Booking) -> int:
        """Keep the places of workers that go on without this autoscaler, for the next one; return their number."""
        self._free_ended(booking)
        booking.resign(self._devices.used)
        self._fleet.settle()
        return len(self._devices.used)

    def leave(self, booking: Booking) -> None:
        """Give up every place, and the lead."""
        booking.leave(self._devices.used)
        booking.resign()

    def _free_ended(self, booking: Booking) -> None:
        view = self._fleet.view()
        booking.leave(self._devices.free(view.vacant, view.cordoned, self._clock()))

    def _wanted(self, decision: Decision, members: int) -> int:
        """Return how many places the autoscalers of the queue should have; workers started by operators count, too.

        The worker of a place may be useless: stuck in a task, hung or draining. Such a place cannot be filled, so one
        more is needed, within `most`. One is added only if the decision starts workers at all. Otherwise another host
        would fill the place of a worker that has just drained, before the next decision.
        """
        there = [w for w in self._last.workers if w.state in {"starting", "idle", "busy"}]
        useless = {*decision.stuck, *decision.give_up}
        mine = sum(w.mine and w.id not in useless for w in there)
        others = sum(not w.mine for w in there)
        others_of_use = sum(not w.mine and w.id not in useless for w in there)
        besides = max(0, members - mine) if decision.start else 0
        return max(0, min(decision.want - others_of_use + besides, self._most - others))

    def _fill(self, booking: Booking, places: int) -> None:
        """Start workers on free devices while there are free places.

        A device is locked before its place is booked. In the other order, a device that another autoscaler of this host
        uses would have its place booked here and then given up, although its worker runs.
        """
        now = self._clock()
        for spec in self._devices.available(now) if places > 0 else ():
            if not self._devices.take(spec, now):
                continue
            try:
                booked = booking.book(self._devices.place(spec.name))
            except BaseException:  # otherwise the device would stay locked and count as a starting worker
                self._devices.give_back(spec.name)
                raise
            if not booked:
                self._devices.give_back(spec.name)
                return
            self._fleet.add(spec)
