"""Signals: the state of a queue, from the broker and the heartbeats, as an Observation."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from mlq.autoscale.policy.observation import Observation, State, WorkerSample
from mlq.protocol.names import BARE_QUEUE
from mlq.store.queues import depth
from mlq.store.workers import heartbeats

if TYPE_CHECKING:
    from kombu import Connection
    from redis import Redis

    from mlq.store.queues.depth import QueueDepth
    from mlq.store.workers.heartbeats import Heartbeat

_STATES: Final[Mapping[str, State]] = {"starting": "starting", "idle": "idle", "busy": "busy", "draining": "draining"}
"""States of heartbeats that the policy counts. Workers in the others (hung, failed, lost) take no work."""


def place(host: str, slot: str) -> str:
    """Return the name of a worker's place, which stays the same when the worker is restarted."""
    return f"{host}:{slot}"


class Signals:
    """Observes one queue. All times are of this process's monotonic clock, since other hosts' clocks may be wrong."""

    def __init__(self, queue: str, *, is_default: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._queues = [queue, BARE_QUEUE] if is_default else [queue]
        self._clock = clock
        self._since: dict[tuple[str, str, str | None], float] = {}

    def read(self, connection: Connection, store: Redis, mine: Collection[str]) -> Observation:
        """Observe the queue once. Raises the errors of the broker's and the store's clients.

        Args:
            connection: The broker.
            store: The state store, which has the heartbeats.
            mine: The places of workers that autoscalers run. A place without a heartbeat counts as starting.
        """
        serving = [h for h in heartbeats.read(store) if self._queues[0] in h.queues]
        return self.observe(depth.read(connection, self._queues), serving, mine)

    def observe(self, depths: Sequence[QueueDepth], serving: Sequence[Heartbeat], mine: Collection[str]) -> Observation:
        """Make an Observation from the depths of the lists and the heartbeats of the workers that serve the queue."""
        at = self._clock()
        keys = {(h.id, h.state, h.task) for h in serving}
        self._since = {k: self._since.get(k, at) for k in keys}
        workers = [self._worker(h, at, mine) for h in serving if h.state in _STATES]
        reported = {place(h.host, h.name) for h in serving}
        unreported = [WorkerSample(p, "starting", 0, 0, 0.0, age_s=0.0) for p in mine if p not in reported]
        flying = [d.in_flight for d in depths]
        ages = [d.oldest_age_s for d in depths if d.oldest_age_s is not None]
        return Observation(
            at,
            sum(d.ready for d in depths),
            None if None in flying else sum(f or 0 for f in flying),
            [*workers, *unreported],
            max(ages, default=None),
        )

    def _worker(self, h: Heartbeat, at: float, mine: Collection[str]) -> WorkerSample:
        for_s = at - self._since[h.id, h.state, h.task]
        return WorkerSample(
            id=h.id,
            state=_STATES[h.state],
            done=sum(h.done.get(q, 0) for q in self._queues),
            all_done=h.tasks_done,
            busy_s=h.busy_s,
            age_s=for_s if h.state == "starting" else for_s + (h.ready_s or 0.0),
            running_s=for_s if h.state == "busy" else 0.0,
            rows_done=h.rows_done,
            forwards=h.forwards or (0.0,) * 6,
            max_batch_size=h.max_batch_size,
            ready_s=h.ready_s,
            idle_s=for_s if h.state == "idle" else 0.0,
            mine=place(h.host, h.name) in mine,
        )
