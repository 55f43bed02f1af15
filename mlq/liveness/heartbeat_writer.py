"""The heartbeat thread: says that workers live. A supervisor runs it for its children, a worker without for itself."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from mlq.broker.server_time import ServerClock, describe_skew
from mlq.store.queues import queue_names
from mlq.store.workers import heartbeats
from mlq.store.workers.heartbeats import Heartbeat
from mlq.store.workers.orders import Order

if TYPE_CHECKING:
    from redis import Redis

INTERVAL_S: Final = 2.0
"""Between two beats of a worker that does nothing new."""

CHANGING_S: Final = 1.0
"""Between two beats of a worker that is busy and idle by turns."""

LOOK_EVERY_S: Final = 0.1
"""How soon a change is seen; looking costs no request. A worker that is idle for so long has no work at hand."""

NOTE_EVERY_S: Final = 3600.0
"""How often the names of the served queues are written down again, so that they are kept while they are served."""

_PARTING_S: Final = 1.0
_NEVER: Final = (-math.inf, None)
_BY_TURNS: Final = frozenset({"idle", "busy"})

log = logging.getLogger("mlq.heartbeat")


class News(NamedTuple):
    """What a watcher should not wait for, if it changes."""

    state: str
    task: str | None
    fingerprint: str | None
    tasks_done: int
    rows_done: int
    rate_limits: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, heartbeat: Heartbeat) -> News:
        told = heartbeat.tasks_done, heartbeat.rows_done
        return cls(heartbeat.state, heartbeat.task, heartbeat.fingerprint, *told, tuple(heartbeat.rate_limits.items()))


class HeartbeatThread(threading.Thread):
    """Writes what `describe` gives, each worker's at least every INTERVAL_S, over a connection of its own.

    With a beat comes back what somebody ordered of that worker; `obey` is called with it, once. After beats `keep` may
    store what else is to be known of the workers. While the store is
    away it says so once and keeps trying: nobody can see the workers, but they work.
    """

    def __init__(
        self,
        open_store: Callable[[], AbstractContextManager[Redis]],
        describe: Callable[[], Sequence[Heartbeat]],
        obey: Callable[[Mapping[str, Order]], None],
        keep: Callable[[Redis], None] | None = None,
    ) -> None:
        super().__init__(name="mlq-heartbeat", daemon=True)
        self._open_store = open_store
        self._describe = describe
        self._obey = obey
        self._keep = keep
        self._said: dict[str, tuple[float, News | None]] = {}
        self._obeyed: dict[str, Order] = {}
        self._skew_is_said = False
        self._noted: dict[str, float] = {}
        self._ended = threading.Event()
        self._hurried = threading.Event()

    def hurry(self) -> None:
        """Beat now, for all workers: an order waits to be fetched. From any thread."""
        self._hurried.set()

    def run(self) -> None:
        """Beat until `end`, then say farewell."""
        silent = False
        while not self._ended.is_set():
            try:
                with self._open_store() as store:
                    silent = False
                    self._beat(store)
            except Exception as exc:  # noqa: BLE001 (a thread that ended would hide every worker, and hear no order)
                if not silent:
                    log.warning("no heartbeat: %s", exc)
                silent = True
                self._said.clear()
                self._ended.wait(INTERVAL_S)

    def end(self) -> None:
        """Say farewell and stop; wait a moment for it, no longer than the process may take to end."""
        self._ended.set()
        self._hurried.set()
        if self.is_alive():
            self.join(_PARTING_S)

    def _beat(self, store: Redis) -> None:
        clock = ServerClock(store)
        while not self._ended.is_set():
            is_hurried = self._hurried.is_set()
            self._hurried.clear()
            skew_s = self._skew_of(clock)
            described = [replace(h, clock_skew_s=skew_s) for h in self._describe()]
            now = time.monotonic()
            due = [h for h in described if is_hurried or self._is_due(h, now)]
            if due:
                # Whose next beat is near goes along: one request for all, not one for each at its own moment.
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
        """Tell how far this host's clock is ahead of the store's; a skew of more than a second is logged, once."""
        clock.refresh()
        said = describe_skew(clock.skew_s)
        if said is None:
            self._skew_is_said = False
        elif not self._skew_is_said:
            log.warning("this host's clock is %s: set it right (NTP); until then waits follow the server's", said)
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
        """Pass on what is new: an order stays in the store until its worker has ended."""
        new = {wid: order for wid, order in orders.items() if self._obeyed.get(wid) != order}
        if new:
            self._obeyed.update(new)
            self._said.update(dict.fromkeys(new, _NEVER))  # what comes of it is news, and soon told
            self._obey(new)

    def _forget(self, store: Redis, gone: set[str]) -> None:
        for wid in gone:
            heartbeats.farewell(store, wid)
            self._said.pop(wid, None)
            self._obeyed.pop(wid, None)


def pause(before: News | None, news: News, idle_s: float) -> float:
    """Say how long after its last beat a worker has the next one; it has been idle for `idle_s` by now.

    What a job has left behind is told at once, so that whoever looks right behind it sees what it did. A worker that is
    idle between two messages of many has the next one before that.
    """
    if before is None or news == before:
        return INTERVAL_S
    if not {before.state, news.state} <= _BY_TURNS or idle_s >= LOOK_EVERY_S:
        return 0.0
    if before.rate_limits != news.rate_limits:
        return 0.0
    return CHANGING_S if before[:3] != news[:3] else INTERVAL_S
