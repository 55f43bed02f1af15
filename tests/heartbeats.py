"""A builder of heartbeats for tests, which name only the fields that matter to them."""

from __future__ import annotations

from typing import Any, Final

from mlq.store.workers.heartbeats import Heartbeat

_IDLE: Final[dict[str, Any]] = {
    "pid": 1,
    "gpu": None,
    "device": "cpu",
    "state": "idle",
    "queues": ("realtime",),
    "model": "m",
    "fingerprint": None,
    "task": None,
    "tasks_done": 0,
    "rows_done": 0,
    "started_at": 0.0,
    "rss_bytes": 1,
}


def heartbeat(name: str = "cpu0", host: str = "h", life: str = "1", **fields: Any) -> Heartbeat:
    """Return the heartbeat of an idle worker on the CPU, with the given fields.

    Args:
        name: The worker's slot.
        host: Its host.
        life: The last part of its id, which differs between the processes of a slot.
        fields: Other fields of Heartbeat.
    """
    return Heartbeat(f"{host}:{name}:{life}", name, host, **{**_IDLE, **fields})
