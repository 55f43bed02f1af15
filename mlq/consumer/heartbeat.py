"""The heartbeat thread: a busy solo worker answers nobody, so a thread says that it lives."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from mlq.broker import heartbeats
from mlq.broker.heartbeats import Heartbeat
from mlq.errors import MlqError

if TYPE_CHECKING:
    from redis import Redis

INTERVAL_S: Final = 2.0
SHORTEST_GAP_S: Final = 0.25
"""Between two beats, however often something changes: 4 a second at the most, 1 in two seconds when idle."""

log = logging.getLogger("mlq.heartbeat")


class HeartbeatThread(threading.Thread):
    """Writes `describe()` every INTERVAL_S over a connection of its own, for as long as the process lives.

    While the store is away it says so once and keeps trying: nobody can see the worker, but it works.
    """

    def __init__(
        self, open_store: Callable[[], AbstractContextManager[Redis]], describe: Callable[[], Heartbeat]
    ) -> None:
        super().__init__(name="mlq-heartbeat", daemon=True)
        self._open_store = open_store
        self._describe = describe
        self._wake = threading.Event()
        self._ended = threading.Event()

    def run(self) -> None:
        """Beat until `end`, then say farewell."""
        silent = False
        while not self._ended.is_set():
            try:
                with self._open_store() as store:
                    silent = False
                    self._beat(store)
            except MlqError as exc:
                if not silent:
                    log.warning("no heartbeat: %s", exc)
                silent = True
                self._ended.wait(INTERVAL_S)

    def soon(self) -> None:
        """Beat before long: something changed that a watcher should not wait for."""
        self._wake.set()

    def end(self) -> None:
        """Say farewell and stop; wait a moment for it, no longer than the process may take to end."""
        self._ended.set()
        self._wake.set()
        self.join(timeout=1.0)

    def _beat(self, store: Redis) -> None:
        while not self._ended.is_set():
            self._wake.clear()
            heartbeats.beat(store, self._describe())
            self._ended.wait(SHORTEST_GAP_S)
            self._wake.wait(INTERVAL_S - SHORTEST_GAP_S)
        heartbeats.farewell(store, self._describe().id)
