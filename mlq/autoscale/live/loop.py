"""The loop: a thread that lets the scaler take a turn every few seconds, and reconnects to the broker and the store."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from mlq.autoscale.live.signals import Signals
from mlq.broker.connection import connected, redis_client, state_store
from mlq.errors import MlqError
from mlq.ipc.threads import StoppableThread
from mlq.store.workers import orders
from mlq.store.workers.booking import Booking
from mlq.store.workers.orders import Order

if TYPE_CHECKING:
    from kombu import Connection
    from redis import Redis

    from mlq.autoscale.live.scaler import Scaler, Workers
    from mlq.autoscale.policy.policy import Decision
    from mlq.broker.connection import Address
    from mlq.settings.config import Settings

_AWAY: Final = (RedisError, OperationalError, MlqError, OSError)

log = logging.getLogger("mlq.autoscale")


class LoopThread(StoppableThread):
    """Scales one queue until it is asked to end or the fleet stops.

    After `stop_deciding` it only renews the places of the workers. A place is the permission, recorded in Redis, for
    one worker of the queue.
    """

    def __init__(
        self, settings: Settings, broker: Address, queue: str, scaler: Scaler, fleet: Workers, interval_s: float
    ) -> None:
        super().__init__("mlq-autoscale")
        self._settings = settings
        self._broker = broker
        self._queue = queue
        self._scaler = scaler
        self._fleet = fleet
        self._interval_s = interval_s
        self._signals = Signals(queue, is_default=queue == settings.default_queue)
        self._report_kept: Callable[[int], None] | None = None
        self._woken = threading.Event()

    def stop_deciding(self, report: Callable[[int], None]) -> None:
        """Make no more decisions and start no more workers; the workers that run go on.

        From now on, `report` is called in each turn with the number of them. Their places stay booked, so the next
        autoscaler of the queue can drain them.
        """
        self._report_kept = report
        self._woken.set()

    def run(self) -> None:
        """Run one turn per interval until the end.

        While the broker cannot be reached, this thread starts and drains no workers; the supervisor still restarts
        workers that die.
        """
        while not self._is_over:
            try:
                with self._opened() as (connection, store):
                    self._scale(connection, store)
            except _AWAY as exc:
                log.debug("the queue cannot be observed: %s", exc, extra={"action": "observation_failed"})
                if self._report_kept is None:
                    self._scaler.tick_without_broker()
                self._pause()
            except Exception as exc:  # noqa: BLE001 (if this thread ended, scaling would stop, and no log would say so)
                log.warning(
                    "the autoscaler met an unexpected error, it tries again in %g s: %r",
                    self._interval_s,
                    exc,
                    extra={"action": "turn_failed"},
                )
                self._pause()

    @property
    def _is_over(self) -> bool:
        return self.is_ending or self._fleet.view().is_stopping

    def _interrupt_wait(self) -> None:
        self._woken.set()

    def _pause(self) -> None:
        self._woken.wait(self._interval_s)
        self._woken.clear()

    @contextmanager
    def _opened(self) -> Iterator[tuple[Connection, Redis]]:
        with ExitStack() as stack:
            connection = stack.enter_context(connected(self._settings, self._broker))
            yield connection, stack.enter_context(state_store(self._settings))

    def _scale(self, connection: Connection, store: Redis) -> None:
        me = f"{socket.gethostname()}:{id(self):x}"
        booking = Booking(redis_client(connection), self._queue, me, turn_s=self._interval_s)
        look, end = partial(self._signals.read, connection, store), partial(_end, store)
        try:
            while not self._is_over:
                if self._report_kept is None:
                    self._scaler.tick(booking, look, end)
                else:
                    self._report_kept(self._scaler.hold(booking))
                self._pause()
        finally:
            if self._is_over:
                self._scaler.leave(booking)


def _end(store: Redis, decision: Decision) -> None:
    """Order workers to end. Their supervisors read the orders with the next heartbeat.

    A drained worker finishes its tasks first. A worker that has taken too long to start (`give_up`) stops at once.
    """
    for wid in decision.drain:
        orders.give(store, wid, Order("drain"))
    for wid in decision.give_up:
        orders.give(store, wid, Order("stop", 0.0))
