"""Heartbeats: the last state that each live worker reported, and its age by the server's clock."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from mlq.broker.script import Call, Script
from mlq.ipc.shared_pages import WorkerReport
from mlq.protocol import keys
from mlq.security.complaints import Complaints
from mlq.store import records
from mlq.store.records import UnreadableRecord
from mlq.store.workers.orders import Order, withdraw

if TYPE_CHECKING:
    from redis import Redis

REMEMBERED_S: Final = 60
"""Seconds after its last heartbeat at which a worker is forgotten; before that it is listed as lost."""

SILENT_S: Final = 6
"""Seconds after its last heartbeat at which a worker is lost: three missed heartbeats."""

_beat: Final = Script("workers/beat")

log = logging.getLogger("mlq.heartbeat")

_unreadable: Final = Complaints(log, "a record cannot be read, and is left out", "unreadable_record")


@dataclass(frozen=True)
class Heartbeat:
    """The state of a worker, as the worker or its supervisor reports it; readers add a few fields."""

    id: str
    name: str
    host: str
    pid: int | None
    """None while a failed worker has no process."""

    gpu: str | None
    device: str
    state: str
    """starting, idle, busy or draining; the supervisor also sets hung and failed, and readers set lost."""

    queues: tuple[str, ...]
    model: str
    fingerprint: str | None
    task: str | None
    tasks_done: int
    rows_done: int
    started_at: float
    """When the process started, in seconds since 1970; readers convert it from the worker's to the server's clock."""

    rss_bytes: int
    """Resident memory of the process."""

    since: float = 0.0
    """When the state began, by the same clocks as `started_at`."""

    restarts: int = 0
    """Processes before this one in the same slot."""

    supervisor: int | None = None
    """Pid of the supervisor, which takes orders for the worker; None for a worker without one."""

    ready_s: float | None = None
    """Seconds that the worker needed to start."""

    # The next four fields, and `rate_limits`, are copied from WorkerReport.
    busy_s: float = 0.0
    done: dict[str, int] = field(default_factory=dict)
    forwards: list[float] = field(default_factory=list)
    max_batch_size: int | None = None
    lease_s: float | None = None
    """Seconds until the worker's lease runs out; readers add it."""

    version: str | None = None
    """Version of mlq that the worker runs; None for a version that does not report it."""

    supervisor_version: str | None = None
    """Version of mlq that the supervisor runs; None for a version that does not report it."""

    clock_skew_s: float | None = None
    """Seconds that the clock of the worker's host is ahead of the server's clock."""

    rate_limits: dict[str, str] = field(default_factory=dict)
    read_at: float = 0.0
    """When the heartbeat was read, by the server's clock; readers add it."""

    def encode(self) -> bytes:
        """Return the value of the Redis key."""
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> Heartbeat:
        """Parse the value of the Redis key. Raises UnreadableRecord."""
        return records.read(cls, value)

    def saying(self, report: WorkerReport) -> Heartbeat:
        """Return a copy with the fields of the worker's report."""
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


def _beat_call(*, worker_id: str, heartbeat: bytes, seconds: int) -> Call:
    return [keys.heartbeat(worker_id), keys.WORKERS, keys.ORDERS], [worker_id, heartbeat, seconds]


def beat(client: Redis, described: Sequence[Heartbeat]) -> dict[str, Order]:
    """Write the heartbeats of workers for REMEMBERED_S, and return the orders for them.

    This works even while memory is full, because then operators need to see the workers.
    """
    calls = (_beat_call(worker_id=h.id, heartbeat=h.encode(), seconds=REMEMBERED_S) for h in described)
    orders = _beat.batch(client, calls)
    found = {h.id: _order_in(order, h.id) for h, order in zip(described, orders, strict=True) if order is not None}
    return {wid: order for wid, order in found.items() if order is not None}


def _order_in(value: bytes, worker_id: str) -> Order | None:
    """Parse an order; None for an unreadable one, which must not prevent the other orders."""
    try:
        return Order.decode(value)
    except UnreadableRecord as exc:
        _unreadable.add(f"the order to {worker_id}: {exc}")
        return None


def farewell(client: Redis, worker_id: str) -> None:
    """Remove a worker that has ended normally."""
    with client.pipeline(transaction=False) as pipe:
        pipe.delete(keys.heartbeat(worker_id))
        pipe.srem(keys.WORKERS, worker_id)
        pipe.hdel(keys.ORDERS, worker_id)
        pipe.execute()


def read(client: Redis) -> list[Heartbeat]:
    """Return the heartbeats of all workers, sorted by host and name; those older than SILENT_S have the state lost."""
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
        with suppress(NoPermissionError):  # a submitter may only read; another reader will remove them
            client.srem(keys.WORKERS, *gone)
            withdraw(client, gone)
    now = now_s + now_us / 1e6
    alive = [_judged_in(i, v, ttl, until, now) for i, (v, ttl, until) in found.items() if v is not None]
    return sorted((h for h in alive if h is not None), key=lambda h: (h.host, h.name, h.started_at))


def _judged_in(worker_id: str, value: Any, ttl_ms: Any, leased_until_ms: Any, now: float) -> Heartbeat | None:
    """Parse a worker's heartbeat; None for an unreadable one, which must not hide the other workers."""
    try:
        for answer in (value, ttl_ms, leased_until_ms):
            if isinstance(answer, Exception):  # the key has another type
                raise UnreadableRecord(str(answer))  # noqa: TRY301 (the handler below logs all cases)
        until = leased_until_ms if leased_until_ms is None or math.isfinite(leased_until_ms) else None
        return _judged(Heartbeat.decode(value), ttl_ms, until, now)
    except UnreadableRecord as exc:
        _unreadable.add(f"the heartbeat of {worker_id}: {exc}")
        return None


def leased(redis: Redis) -> list[str]:
    """Return the ids of the workers that have a lease on this server."""
    return [wid.decode() for wid in cast("list[bytes]", redis.zrange(keys.LEASES, 0, -1))]


def serving(heartbeats: Sequence[Heartbeat], queue: str) -> list[Heartbeat]:
    """Return the workers that serve a queue and are not lost."""
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
