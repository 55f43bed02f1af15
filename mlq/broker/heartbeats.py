"""Heartbeats: what live workers last said of themselves, and how long ago by the server's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from mlq import keys
from mlq.broker.script import Script

if TYPE_CHECKING:
    from redis import Redis

REMEMBERED_S: Final = 60
"""A worker that fell silent is listed as lost for so long, then forgotten."""

SILENT_S: Final = 6
"""Three beats missed."""

_beat: Final = Script("beat")


@dataclass(frozen=True)
class Heartbeat:
    """A live worker's own word. `state` is starting, idle, busy, draining; readers add lost.

    `started_at` is in seconds since 1970 by the worker's clock, `rss_bytes` its resident memory.
    """

    id: str
    name: str
    host: str
    pid: int
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

    def encode(self) -> bytes:
        """Write the value of the key."""
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> Heartbeat:
        """Read the value of the key."""
        fields: dict[str, Any] = orjson.loads(value)
        return cls(**{**fields, "queues": tuple(fields["queues"])})


def beat(client: Redis, heartbeat: Heartbeat) -> None:
    """Say that a worker is alive, for REMEMBERED_S; also where memory is full, which is when somebody looks."""
    _beat(client, [keys.heartbeat(heartbeat.id), keys.WORKERS], [heartbeat.id, heartbeat.encode(), REMEMBERED_S])


def farewell(client: Redis, worker_id: str) -> None:
    """Forget a worker that ended as it should."""
    with client.pipeline(transaction=False) as pipe:
        pipe.delete(keys.heartbeat(worker_id))
        pipe.srem(keys.WORKERS, worker_id)
        pipe.execute()


def read(client: Redis) -> list[Heartbeat]:
    """Read every worker's last word, by name; those silent for SILENT_S are `lost`."""
    ids = sorted(i.decode() for i in cast("set[bytes]", client.smembers(keys.WORKERS)))
    if not ids:
        return []
    with client.pipeline(transaction=False) as pipe:
        for worker_id in ids:
            pipe.get(keys.heartbeat(worker_id))
            pipe.pttl(keys.heartbeat(worker_id))
        answers = pipe.execute()
    found = dict(zip(ids, zip(answers[::2], answers[1::2], strict=True), strict=True))
    gone = [i for i, (value, _) in found.items() if value is None]
    if gone:
        client.srem(keys.WORKERS, *gone)
    alive = [_judged(Heartbeat.decode(v), ttl) for v, ttl in found.values() if v is not None]
    return sorted(alive, key=lambda h: (h.host, h.name, h.started_at))


def serving(heartbeats: Sequence[Heartbeat], queue: str) -> list[Heartbeat]:
    """Pick the workers that take from a queue and are there."""
    return [h for h in heartbeats if queue in h.queues and h.state != "lost"]


def _judged(heartbeat: Heartbeat, ttl_ms: int) -> Heartbeat:
    silent_s = REMEMBERED_S - ttl_ms / 1000
    return replace(heartbeat, state="lost") if silent_s > SILENT_S else heartbeat
