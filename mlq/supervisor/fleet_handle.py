"""The fleet's handle: all that the loop of a supervisor and its threads share, a view and a queue of requests."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from mlq.ipc.threads import Wakeup
from mlq.store.workers.orders import Order
from mlq.supervisor.spec import WorkerSpec
from mlq.supervisor.view import FleetView


@dataclass(frozen=True)
class AddWorker:
    """Start one more worker."""

    spec: WorkerSpec


@dataclass(frozen=True)
class Settle:
    """Accept no more workers, and end with the last of the present ones."""


@dataclass(frozen=True)
class FenceWorkers:
    """Kill the workers with these ids, which lost their leases."""

    wids: frozenset[str]


@dataclass(frozen=True)
class TerminateWorker:
    """Kill the worker with this id, whose task was revoked."""

    wid: str


@dataclass(frozen=True)
class ObeyOrder:
    """Carry out an operator's order to the worker with this id."""

    wid: str
    order: Order


Request = AddWorker | Settle | FenceWorkers | TerminateWorker | ObeyOrder


class FleetHandle:
    """The part of a fleet that other threads may use. It holds no reference to the fleet itself.

    The loop alone changes the state of slots and processes. A thread that read this state could find a slot between two
    changes, for example a worker that has ended and still counts as running, and renew the lease that recovery is
    taking away. So the loop replaces the view by one assignment, which no thread can see half done, and a thread that
    reads the view once sees one moment of all slots. What a thread wants to be changed goes through a queue.
    """

    def __init__(self) -> None:
        self._view = FleetView()
        self._requests: SimpleQueue[Request] = SimpleQueue()
        self._wakeup = Wakeup()

    # For every thread

    def view(self) -> FleetView:
        """Return the present view. Read it once for one decision: the next call may return another view."""
        return self._view

    def add(self, spec: WorkerSpec) -> None:
        """Start one more worker."""
        self._request(AddWorker(spec))

    def settle(self) -> None:
        """Accept no more workers, and end with the last of the present ones."""
        self._request(Settle())

    def fence(self, wids: Collection[str]) -> None:
        """Kill workers whose lease was reaped, because their results are refused."""
        self._request(FenceWorkers(frozenset(wids)))

    def terminate(self, wid: str) -> None:
        """Kill a worker whose task was revoked."""
        self._request(TerminateWorker(wid))

    def obey(self, orders: Mapping[str, Order]) -> None:
        """Carry out an operator's orders; the keys are ids of workers."""
        for wid, order in orders.items():
            self._request(ObeyOrder(wid, order))

    def _request(self, request: Request) -> None:
        self._requests.put(request)
        self._wakeup.ring()

    # For the loop alone

    @property
    def fd(self) -> int:
        """A descriptor that is readable while requests wait."""
        return self._wakeup.fd

    def publish(self, view: FleetView) -> None:
        """Replace the view."""
        self._view = view

    def take_requests(self) -> Iterator[Request]:
        """Yield the requests that wait, in the order in which they came."""
        self._wakeup.clear()
        while True:
            try:
                request = self._requests.get_nowait()
            except Empty:
                return
            yield request
