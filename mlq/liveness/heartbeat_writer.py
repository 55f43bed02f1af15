"""The heartbeat thread: it writes heartbeats, for all workers of a supervisor, or for a worker that has none."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from mlq.broker.retries import Outage
from mlq.broker.server_time import ServerClock, describe_skew
from mlq.ipc.threads import StoppableThread
from mlq.store.queues import queue_names
from mlq.store.workers import heartbeats
from mlq.store.workers.heartbeats import Heartbeat
from mlq.store.workers.orders import Order

if TYPE_CHECKING:
    from redis import Redis

INTERVAL_S: Final = 2.0
"""Seconds between two heartbeats of a worker whose state does not change."""

CHANGING_S: Final = 1.0
"""Seconds between two heartbeats of a worker that alternates between busy and idle."""

LOOK_EVERY_S: Final = 0.1
"""Seconds between two looks for changes; a look sends no request. A worker idle for this long has no message left."""

NOTE_EVERY_S: Final = 3600.0
"""Seconds after which the names of the served queues are stored again, so that they do not expire."""

_NEVER: Final = (-math.inf, None)
_BY_TURNS: Final = frozenset({"idle", "busy"})

log = logging.getLogger("mlq.heartbeat")


class News(NamedTuple):
    """The part of a heartbeat whose changes are written soon."""

    state: str
    task: str | None
    fingerprint: str | None
    tasks_done: int
    rows_done: int
    rate_limits: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, heartbeat: Heartbeat) -> News:
        counts = heartbeat.tasks_done, heartbeat.rows_done
        return cls(
            heartbeat.state, heartbeat.task, heartbeat.fingerprint, *counts, tuple(heartbeat.rate_limits.items())
        )


class HeartbeatThread(StoppableThread):
    """Writes a heartbeat of each worker at least every INTERVAL_S, over a connection of its own.

    The reply to a heartbeat carries the operator's order to that worker, if there is one. While the store is away, this
    thread logs it once and keeps trying: the workers keep running, but are not visible.
    """

    def __init__(
        self,
        open_store: Callable[[], AbstractContextManager[Redis]],
        describe: Callable[[], Sequence[Heartbeat]],
        obey: Callable[[Mapping[str, Order]], None],
        keep: Callable[[Redis], None] | None = None,
    ) -> None:
        """Create the thread.

        Args:
            open_store: Opens a connection to the store.
            describe: Returns the present heartbeat of each worker.
            obey: Called once with each new order, by worker id.
            keep: Called after heartbeats with the store, to write what else is known of the workers.
        """
        super().__init__("mlq-heartbeat")
        self._open_store = open_store
        self._describe = describe
        self._obey = obey
        self._keep = keep
        self._said: dict[str, tuple[float, News | None]] = {}
        self._obeyed: dict[str, Order] = {}
        self._skew_is_said = False
        self._noted: dict[str, float] = {}
        self._hurried = threading.Event()

    def hurry(self) -> None:
        """Write all heartbeats now, because an order waits to be fetched. Any thread may call this."""
        self._hurried.set()

    def run(self) -> None:
        """Write heartbeats until `end`, then remove them."""
        outage = Outage(_report, first_pause_s=INTERVAL_S)
        while not self.is_ending:
            try:
                with self._open_store() as store:
                    outage.succeeded()
                    self._beat(store)
            except Exception as exc:  # noqa: BLE001 (without this thread, workers are invisible and get no orders)
                pause_s = outage.failed(exc)
                self._said.clear()
                self._ended.wait(pause_s)

    def _interrupt_wait(self) -> None:
        self._hurried.set()

    def _beat(self, store: Redis) -> None:
        clock = ServerClock(store)
        while not self.is_ending:
            is_hurried = self._hurried.is_set()
            self._hurried.clear()
            skew_s = self._skew_of(clock)
            described = [replace(h, clock_skew_s=skew_s) for h in self._describe()]
            now = time.monotonic()
            due = [h for h in described if is_hurried or self._is_due(h, now)]
            if due:
                # Heartbeats that are due soon are written, too: one request for all workers instead of one each.
                due += [h for h in described if h not in due and now - self._at(h) >= CHANGING_S]
                self._said.update({h.id: (now, News.of(h)) for h in due})
                self._take(heartbeats.beat(store, due))
                self._note_queues(store, due, now)
                if self._keep is not None:
                    self._keep(store)
            gone = self._said.keys() - {h.id for h in described}
            self._forget(store, gone)
            self._hurried.wait(LOOK_EVERY_S)
        self._forget(store, set(self._said))

    def _skew_of(self, clock: ServerClock) -> float:
        """Return how many seconds this host's clock is ahead of the store's; log a skew of more than a second once."""
        clock.refresh()
        said = describe_skew(clock.skew_s)
        if said is None:
            self._skew_is_said = False
        elif not self._skew_is_said:
            log.warning(
                "this host's clock is %s: set it right (NTP); until then delays follow the server's clock",
                said,
                extra={"action": "clock_skewed"},
            )
            self._skew_is_said = True
        return round(clock.skew_s, 3)

    def _note_queues(self, store: Redis, described: Sequence[Heartbeat], now: float) -> None:
        served = {queue for heartbeat in described for queue in heartbeat.queues}
        due = [queue for queue in served if now - self._noted.get(queue, -math.inf) >= NOTE_EVERY_S]
        queue_names.note(store, due)
        self._noted.update(dict.fromkeys(due, now))

    def _is_due(self, heartbeat: Heartbeat, now: float) -> bool:
        _, before = self._said.get(heartbeat.id, _NEVER)
        idle_s = time.time() - heartbeat.since if heartbeat.state == "idle" else 0.0
        return now - self._at(heartbeat) >= pause(before, News.of(heartbeat), idle_s)

    def _at(self, heartbeat: Heartbeat) -> float:
        return self._said.get(heartbeat.id, _NEVER)[0]

    def _take(self, orders: Mapping[str, Order]) -> None:
        """Pass new orders on to `obey`; an order stays in the store until its worker has ended."""
        new = {wid: order for wid, order in orders.items() if self._obeyed.get(wid) != order}
        if new:
            self._obeyed.update(new)
            self._said.update(dict.fromkeys(new, _NEVER))  # the next heartbeat shows the effect of the order
            self._obey(new)

    def _forget(self, store: Redis, gone: set[str]) -> None:
        for wid in gone:
            heartbeats.farewell(store, wid)
            self._said.pop(wid, None)
            self._obeyed.pop(wid, None)


def _report(exc: Exception) -> None:
    log.warning("heartbeats cannot be written: %s", exc, extra={"action": "heartbeat_failed"})


def pause(before: News | None, news: News, idle_s: float) -> float:
    """Return the seconds between the last heartbeat of a worker and the next one.

    A worker that becomes idle after its last message reports it at once, so a client that looks right after a job sees
    the result. A worker that is idle between two of many messages gets the next message sooner than that.

    Args:
        before: What the last heartbeat said, or None before the first.
        news: What the next one would say.
        idle_s: Seconds since the worker became idle, or 0.
    """
    if before is None or news == before:
        return INTERVAL_S
    if not {before.state, news.state} <= _BY_TURNS or idle_s >= LOOK_EVERY_S:
        return 0.0
    if before.rate_limits != news.rate_limits:
        return 0.0
    return CHANGING_S if before[:3] != news[:3] else INTERVAL_S
