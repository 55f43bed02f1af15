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

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""

    def add(self, spec: WorkerSpec) -> None:
        """Start one more worker."""

    def settle(self) -> None:
        """Take no more workers, and end with the last of those that are there."""


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
        self._kept: Callable[[int], None] | None = None
        self._ended = False
        self._woken = threading.Event()

    def end(self) -> None:
        """Decide no more, and wait for the tick that runs."""
        self._ended = True
        self._woken.set()
        if self.is_alive():
            self.join(10 * self._interval_s)

    def keep(self, kept: Callable[[int], None]) -> None:
        """Decide no more, and start nobody; the workers go on, and `kept` is told how many there are.

        Their places stay booked, so whichever autoscaler of the queue decides next may drain them.
        """
        self._kept = kept
        self._woken.set()

    def run(self) -> None:
        """Tick until `end`, or until the fleet stops; while the broker is away nobody is started or stopped."""
        while not self._is_over:
            try:
                with self._opened() as (connection, store):
                    self._scale(connection, store)
            except _AWAY as exc:
                log.debug("cannot look: %s", exc)
                # What was seen last, but for the queue: the policy knows what blindness means.
                last = self._last
                if self._kept is None:
                    self._tell(self._policy.decide(Observation(time.monotonic(), None, None, last.workers)))
                self._pause()

    @property
    def _is_over(self) -> bool:
        return self._ended or self._fleet.stopping

    def _pause(self) -> None:
        self._woken.wait(self._interval_s)
        self._woken.clear()

    @contextmanager
    def _opened(self) -> Iterator[tuple[Connection, Redis]]:
        with ExitStack() as stack:
            connection = stack.enter_context(connected(self._settings, self._broker))
            yield connection, stack.enter_context(state_store(self._settings))

    def _scale(self, connection: Connection, store: Redis) -> None:
        booking = Booking(redis_client(connection), self._queue, f"{socket.gethostname()}:{id(self):x}")
        try:
            while not self._is_over:
                booking.leave(self._devices.free(self._fleet.vacant, self._fleet.cordoned, time.monotonic()))
                if self._kept is None:
                    self._tick(connection, store, booking)
                else:
                    self._hold(booking, self._kept)
                self._pause()
        finally:
            if self._is_over:
                booking.leave(self._devices.used)
                booking.resign()

    def _hold(self, booking: Booking, kept: Callable[[int], None]) -> None:
        """Keep the places of workers that go on without an autoscaler, for the next one to find."""
        booking.resign(self._devices.used)
        kept(len(self._devices.used))
        self._fleet.settle()

    def _tick(self, connection: Connection, store: Redis, booking: Booking) -> None:
        standing = booking.seek(self._devices.used)
        self._last = self._signals.read(connection, store, standing.members)
        want = standing.want or 0
        if standing.leads:
            want = self._lead(store, booking, self._policy.decide(self._last))
        self._fill(booking, want - len(standing.members))

    def _fill(self, booking: Booking, places: int) -> None:
        """Start workers on free devices while there are places for them.

        A device is locked before its place is booked. The other way round a place would be given up again that is
        that of the worker which has the device: one that another autoscaler of this host has started.
        """
        for spec in self._devices.available(time.monotonic()) if places > 0 else ():
            if not self._devices.take(spec):
                continue
            if not booking.book(self._devices.place(spec.name)):
                self._devices.give_back(spec.name)
                return
            self._fleet.add(spec)

    def _lead(self, store: Redis, booking: Booking, decision: Decision) -> int:
        """Do what was decided; give how many workers autoscalers are to run in all."""
        others = sum(not w.mine and w.state in {"starting", "idle", "busy"} for w in self._last.workers)
        want = max(0, decision.want - others)
        booking.want(want)
        for wid in decision.drain:
            orders.give(store, wid, Order("drain"))
        self._tell(decision)
        return want


class Devices:
    """The devices of this host that may be used: each is one worker's, or free, or to be left alone for a while."""

    def __init__(self, pool: Sequence[WorkerSpec], slots: Slots, pause_s: float) -> None:
        self._pool = {spec.name: spec for spec in pool}
        self._slots = slots
        self._pause_s = pause_s
        self._host = socket.gethostname()
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

    def take(self, spec: WorkerSpec) -> bool:
        """Lock a device; False if another process of this host has it: two autoscalers never book one twice."""
        try:
            self._slots.take([spec.name], spec.gpu)
        except (SlotTaken, DeviceTaken):
            return False
        self._used.add(spec.name)
        return True

    def free(self, vacant: dict[str, bool], cordoned: frozenset[str], at: float) -> list[str]:
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
            self._failures[slot] = self._failures.get(slot, 0) + 1 if vacant[slot] else 0
            pause = min(_LONGEST_PAUSE_S, self._pause_s * 2 ** self._failures[slot]) if vacant[slot] else 0.0
            self._not_before[slot] = at + pause
        return [*map(self.place, left)]

    def available(self, at: float) -> list[WorkerSpec]:
        """Give the devices on which a worker may be started now."""
        return [
            spec
            for name, spec in self._pool.items()
            if name not in self._used and at >= self._not_before.get(name, 0.0)
        ]
