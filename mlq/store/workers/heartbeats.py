"""Heartbeats: what live workers last said of themselves, and how long ago by the server's clock."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from mlq.broker.script import Call, Script
from mlq.ipc.worker_report import WorkerReport
from mlq.protocol import keys
from mlq.security.complaints import Complaints
from mlq.store import records
from mlq.store.records import UnreadableRecord
from mlq.store.workers.orders import Order, withdraw

if TYPE_CHECKING:
    from redis import Redis

REMEMBERED_S: Final = 60
"""A worker that fell silent is listed as lost for so long, then forgotten."""

SILENT_S: Final = 6
"""Three beats missed."""

_beat: Final = Script("workers/beat")

log = logging.getLogger("mlq.heartbeat")

_unreadable: Final = Complaints(log, "a record cannot be read, and is left out", "unreadable_record")


@dataclass(frozen=True)
class Heartbeat:
    """What is known of a worker, by its own word or its supervisor's.

    `state` is starting, idle, busy, draining; its supervisor knows hung and failed (then there is no `pid`), and
    readers add lost. `since` is when the state began, `started_at` when the process did (seconds since 1970, by the
    worker's clock); `rss_bytes` is its resident memory. `supervisor` is the pid of who takes orders for it, None for a
    worker that runs by itself; `restarts` counts the processes before this one in its slot, `ready_s` is what it took
    to start; `busy_s`, `done`, `forwards`, `max_batch_size` and `rate_limits` are board.Report's. `lease_s` is what
    readers add: the seconds left. `version` is the version of mlq that the worker runs, `supervisor_version` its
    supervisor's; None for a version that does not say so. `clock_skew_s` is how far the worker's host is ahead of the
    server's clock, on which readers put `since` and `started_at`; `read_at`, which they add, is when they read, by the
    same clock.
    """

    id: str
    name: str
    host: str
    pid: int | None
    gpu: str | None
    device: str
    state: str
    queues: tuple[str, ...]
    model: str
    fingerprint: str | None
    task: str | None
    tasks_done: int
    rows_done: int
    started_at: float
    rss_bytes: int
    since: float = 0.0
    restarts: int = 0
    supervisor: int | None = None
    ready_s: float | None = None
    busy_s: float = 0.0
    done: dict[str, int] = field(default_factory=dict)
    forwards: list[float] = field(default_factory=list)
    max_batch_size: int | None = None
    lease_s: float | None = None
    version: str | None = None
    supervisor_version: str | None = None
    clock_skew_s: float | None = None
    rate_limits: dict[str, str] = field(default_factory=dict)
    read_at: float = 0.0

    def encode(self) -> bytes:
        """Write the value of the key."""
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> Heartbeat:
        """Read the value of the key. Raises UnreadableRecord."""
        return records.read(cls, value)

    def saying(self, report: WorkerReport) -> Heartbeat:
        """Add what the worker reports of itself."""
        return replace(
            self,
            state=report.state,
            since=report.since,
            fingerprint=report.fingerprint,
            max_batch_size=report.max_batch_size,
            task=report.task,
            tasks_done=report.tasks_done,
            rows_done=report.rows_done,
            busy_s=report.busy_s,
            done=report.done,
            forwards=report.forwards,
            version=report.version,
            rate_limits=report.rate_limits,
        )


def beat(client: Redis, described: Sequence[Heartbeat]) -> dict[str, Order]:
    """Say that workers are alive, for REMEMBERED_S, and give what was ordered of them.

    This works where memory is full, too, which is when somebody looks.
    """
    calls: list[Call] = [
        ([keys.heartbeat(h.id), keys.WORKERS, keys.ORDERS], [h.id, h.encode(), REMEMBERED_S]) for h in described
    ]
    orders = _beat.batch(client, calls)
    found = {h.id: _order_in(order, h.id) for h, order in zip(described, orders, strict=True) if order is not None}
    return {wid: order for wid, order in found.items() if order is not None}


def _order_in(value: bytes, worker_id: str) -> Order | None:
    """Read an order; one that cannot be read is not carried out, and keeps no other from being."""
    try:
        return Order.decode(value)
    except UnreadableRecord as exc:
        _unreadable.add(f"the order to {worker_id}: {exc}")
        return None


def farewell(client: Redis, worker_id: str) -> None:
    """Forget a worker that ended as it should."""
    with client.pipeline(transaction=False) as pipe:
        pipe.delete(keys.heartbeat(worker_id))
        pipe.srem(keys.WORKERS, worker_id)
        pipe.hdel(keys.ORDERS, worker_id)
        pipe.execute()


def read(client: Redis) -> list[Heartbeat]:
    """Read every worker's last word, by name; those silent for SILENT_S are `lost`."""
    ids = sorted(i.decode(errors="replace") for i in cast("set[bytes]", client.smembers(keys.WORKERS)))
    if not ids:
        return []
    from redis.exceptions import NoPermissionError

    with client.pipeline(transaction=False) as pipe:
        for worker_id in ids:
            pipe.get(keys.heartbeat(worker_id))
            pipe.pttl(keys.heartbeat(worker_id))
            pipe.zscore(keys.LEASES, worker_id)
        pipe.time()
        *answers, (now_s, now_us) = pipe.execute(raise_on_error=False)
    found = dict(zip(ids, zip(answers[::3], answers[1::3], answers[2::3], strict=True), strict=True))
    gone = [i for i, (value, _, _) in found.items() if value is None]
    if gone:
        with suppress(NoPermissionError):  # a submitter only reads; whoever may write removes them
            client.srem(keys.WORKERS, *gone)
            withdraw(client, gone)
    now = now_s + now_us / 1e6
    alive = [_judged_in(i, v, ttl, until, now) for i, (v, ttl, until) in found.items() if v is not None]
    return sorted((h for h in alive if h is not None), key=lambda h: (h.host, h.name, h.started_at))


def _judged_in(worker_id: str, value: Any, ttl_ms: Any, leased_until_ms: Any, now: float) -> Heartbeat | None:
    """Read a worker's last word; None for one that cannot be read, which hides no other worker."""
    try:
        for answer in (value, ttl_ms, leased_until_ms):
            if isinstance(answer, Exception):  # a key of another kind
                raise UnreadableRecord(str(answer))  # noqa: TRY301 (one place says so)
        until = leased_until_ms if leased_until_ms is None or math.isfinite(leased_until_ms) else None
        return _judged(Heartbeat.decode(value), ttl_ms, until, now)
    except UnreadableRecord as exc:
        _unreadable.add(f"the heartbeat of {worker_id}: {exc}")
        return None


def serving(heartbeats: Sequence[Heartbeat], queue: str) -> list[Heartbeat]:
    """Pick the workers that take from a queue and are there."""
    return [h for h in heartbeats if queue in h.queues and h.state != "lost"]


def _judged(heartbeat: Heartbeat, ttl_ms: int, leased_until_ms: float | None, now: float) -> Heartbeat:
    silent_s = REMEMBERED_S - ttl_ms / 1000
    lease_s = None if leased_until_ms is None else round(leased_until_ms / 1000 - now, 3)
    skew_s = heartbeat.clock_skew_s or 0.0
    return replace(
        heartbeat,
        lease_s=lease_s,
        state="lost" if silent_s > SILENT_S else heartbeat.state,
        since=heartbeat.since - skew_s if heartbeat.since else 0.0,
        started_at=heartbeat.started_at - skew_s,
        read_at=now,
    )
