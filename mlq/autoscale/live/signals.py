"""Signals: what the broker and the heartbeats tell of a queue, as an Observation."""

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
"""The others (hung, failed, lost) neither take work nor will."""


def place(host: str, slot: str) -> str:
    """Name a worker's place among those that autoscalers run: it outlives the worker's restarts."""
    return f"{host}:{slot}"


class Signals:
    """Looks at one queue. Times are this process's monotonic clock: no other host's clock is believed."""

    def __init__(self, queue: str, *, is_default: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._queues = [queue, BARE_QUEUE] if is_default else [queue]
        self._clock = clock
        self._since: dict[tuple[str, str, str | None], float] = {}

    def read(self, connection: Connection, store: Redis, mine: Collection[str]) -> Observation:
        """Look once. `mine` are the places of workers that autoscalers run; those without a heartbeat yet start.

        Raises what the broker's and the store's failures raise.
        """
        found = [h for h in heartbeats.read(store) if self._queues[0] in h.queues]
        return self.observe(depth.read(connection, self._queues), found, mine)

    def observe(self, depths: Sequence[QueueDepth], found: Sequence[Heartbeat], mine: Collection[str]) -> Observation:
        """Put together what was read."""
        at = self._clock()
        keys = {(h.id, h.state, h.task) for h in found}
        self._since = {k: self._since.get(k, at) for k in keys}
        workers = [self._worker(h, at, mine) for h in found if h.state in _STATES]
        seen = {place(h.host, h.name) for h in found}
        unseen = [WorkerSample(p, "starting", 0, 0, 0.0, age_s=0.0) for p in mine if p not in seen]
        flying = [d.in_flight for d in depths]
        ages = [d.oldest_age_s for d in depths if d.oldest_age_s is not None]
        return Observation(
            at,
            sum(d.ready for d in depths),
            None if None in flying else sum(f or 0 for f in flying),
            [*workers, *unseen],
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
