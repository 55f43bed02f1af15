"""The loop: look, decide, act. Workers are started through this host's fleet, and only ever drained while idle."""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from mlq.autoscale.observation import Observation
from mlq.autoscale.policy import Deciding, Decision
from mlq.autoscale.signals import Signals, place
from mlq.broker import orders
from mlq.broker.booking import Booking
from mlq.broker.connection import connected, redis_client, state_store
from mlq.broker.orders import Order
from mlq.errors import MlqError, SlotTaken
from mlq.fleet.errors import DeviceTaken

if TYPE_CHECKING:
    from kombu import Connection
    from redis import Redis

    from mlq.broker.connection import Address
    from mlq.config import Settings
    from mlq.fleet.slots import Slots
    from mlq.fleet.spec import WorkerSpec

_LONGEST_PAUSE_S: Final = 300.0
"""Between two starts on a device whose worker was given up."""

_AWAY: Final = (RedisError, OperationalError, MlqError, OSError)

log = logging.getLogger("mlq.autoscale")


class Workers(Protocol):
    """What the loop needs of a fleet."""

    @property
    def vacant(self) -> dict[str, bool]:
        """Slots whose worker has ended for good: whether each was given up."""

    @property
    def cordoned(self) -> frozenset[str]:
        """Slots whose last worker died of a fault of its device."""

    def add(self, spec: WorkerSpec) -> None:
        """Start one more worker."""


class LoopThread(threading.Thread):
    """Scales one queue with the devices of this host, in agreement with the autoscalers of other hosts.

    One of them decides (booking.Booking); each starts workers on its own free devices while places are left. Workers
    that nobody's autoscaler started count as capacity, and are left alone.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (it ties all of them together)
        self,
        settings: Settings,
        broker: Address,
        queue: str,
        policy: Deciding,
        pool: Sequence[WorkerSpec],
        fleet: Workers,
        slots: Slots,
        tell: Callable[[Decision], None],
        interval_s: float,
    ) -> None:
        super().__init__(name="mlq-autoscale", daemon=True)
        self._settings = settings
        self._broker = broker
        self._queue = queue
        self._policy = policy
        self._devices = Devices(pool, slots, interval_s)
        self._fleet = fleet
        self._tell = tell
        self._interval_s = interval_s
        self._signals = Signals(queue, is_default=queue == settings.default_queue)
        self._last = Observation(0.0, None, None, ())
        self._ended = threading.Event()

    def end(self) -> None:
        """Decide no more, and wait for the tick that runs."""
        self._ended.set()
        if self.is_alive():
            self.join(10 * self._interval_s)

    def run(self) -> None:
        """Tick until `end`; while the broker is away nothing is started and nobody is stopped."""
        while not self._ended.is_set():
            try:
                with self._opened() as (connection, store):
                    self._scale(connection, store)
            except _AWAY as exc:
                log.debug("cannot look: %s", exc)
                # What was seen last, but for the queue: the policy knows what blindness means.
                last = self._last
                self._tell(self._policy.decide(Observation(time.monotonic(), None, None, last.workers)))
                self._ended.wait(self._interval_s)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Connection, Redis]]:
        with ExitStack() as stack:
            connection = stack.enter_context(connected(self._settings, self._broker))
            yield connection, stack.enter_context(state_store(self._settings))

    def _scale(self, connection: Connection, store: Redis) -> None:
        booking = Booking(redis_client(connection), self._queue, f"{socket.gethostname()}:{id(self):x}")
        try:
            while not self._ended.is_set():
                self._tick(connection, store, booking)
                self._ended.wait(self._interval_s)
        finally:
            if self._ended.is_set():
                booking.leave([place(socket.gethostname(), slot) for slot in self._devices.used])
                booking.resign()

    def _tick(self, connection: Connection, store: Redis, booking: Booking) -> None:
        left = self._devices.free(self._fleet.vacant, self._fleet.cordoned, time.monotonic())
        here = socket.gethostname()
        booking.leave([place(here, slot) for slot in left])
        standing = booking.seek([place(here, slot) for slot in self._devices.used])
        self._last = self._signals.read(connection, store, standing.members)
        if standing.leads:
            self._lead(store, booking, self._policy.decide(self._last))
        for spec in self._devices.available(time.monotonic()):
            if not booking.book(place(here, spec.name)):
                return
            if self._devices.take(spec):
                self._fleet.add(spec)
            else:
                booking.leave([place(here, spec.name)])

    def _lead(self, store: Redis, booking: Booking, decision: Decision) -> None:
        others = sum(not w.mine and w.state in {"starting", "idle", "busy"} for w in self._last.workers)
        booking.want(max(0, decision.want - others))
        for wid in decision.drain:
            orders.give(store, wid, Order("drain"))
        self._tell(decision)


class Devices:
    """The devices of this host that may be used: each is one worker's, or free, or to be left alone for a while."""

    def __init__(self, pool: Sequence[WorkerSpec], slots: Slots, pause_s: float) -> None:
        self._pool = {spec.name: spec for spec in pool}
        self._slots = slots
        self._pause_s = pause_s
        self._used: set[str] = set()
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    @property
    def used(self) -> list[str]:
        """Slots of workers that run or start."""
        return sorted(self._used)

    def take(self, spec: WorkerSpec) -> bool:
        """Lock a device; False if another process of this host has it: two autoscalers never book one twice."""
        try:
            self._slots.take([spec.name], spec.gpu)
        except (SlotTaken, DeviceTaken):
            return False
        self._used.add(spec.name)
        return True

    def free(self, vacant: dict[str, bool], cordoned: frozenset[str], at: float) -> list[str]:
        """Let go of devices whose workers have ended for good; one that failed is left alone, each time for longer.

        One at fault stays ours, so that nobody starts anything on it.
        """
        left = [slot for slot in self._used if slot in vacant]
        for slot in left:
            self._used.discard(slot)
            if slot in cordoned:
                self._not_before[slot] = math.inf
                continue
            self._slots.free(slot)
            self._failures[slot] = self._failures.get(slot, 0) + 1 if vacant[slot] else 0
            pause = min(_LONGEST_PAUSE_S, self._pause_s * 2 ** self._failures[slot]) if vacant[slot] else 0.0
            self._not_before[slot] = at + pause
        return left

    def available(self, at: float) -> list[WorkerSpec]:
        """Give the devices on which a worker may be started now."""
        return [
            spec
            for name, spec in self._pool.items()
            if name not in self._used and at >= self._not_before.get(name, 0.0)
        ]
