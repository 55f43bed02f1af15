"""Answers to Celery's control messages for a busy worker, from what its supervisor knows of it."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mlq.ipc.shared_pages import RunningTask, WorkerReport

if TYPE_CHECKING:
    from mlq.supervisor.view import FleetView

MINE_AFTER_S: Final = 0.25
"""Seconds in a task after which the supervisor answers for a worker. Before that the worker may still answer."""


@dataclass(frozen=True)
class BusyWorker:
    """A worker as control messages address it, and its last report."""

    #: Its name in Celery.
    hostname: str
    pid: int
    #: Its id in mlq.
    wid: str
    queues: tuple[str, ...]
    #: Seconds since 1970.
    started_at: float
    report: WorkerReport


def addressed(view: FleetView) -> list[BusyWorker]:
    """Describe the running workers of a view as control messages address them."""
    here = socket.gethostname()
    return [
        BusyWorker(f"{w.spec.name}@{here}", w.pid, w.wid, w.spec.settings.served_queues, w.started_at, report)
        for w in view.running
        if (report := w.report_page.read()) is not None
    ]


def is_unresponsive(report: WorkerReport | None, now: float) -> bool:
    """Return whether a worker cannot answer, because it is in a long task. `now` is in seconds since 1970."""
    return report is not None and bool(report.running) and now - report.since >= MINE_AFTER_S


def answer(worker: BusyWorker, method: str, revoked: list[str]) -> Any | None:  # noqa: PLR0911 (one for each)
    """Return the answer that Celery's worker would give; None if only the worker can answer, after its task."""
    match method:
        case "ping":
            return {"ok": "pong"}
        case "active" | "dump_active" | "reserved":
            return [_task(worker, task) for task in worker.report.running]
        case "scheduled":
            return []
        case "revoked" | "dump_revoked":
            return revoked
        case "active_queues":
            return [_queue(name) for name in worker.queues]
        case "stats":
            return _stats(worker)
        case "revoke" | "terminate":
            return {"ok": "tasks flagged as revoked"}
    return None


def _task(worker: BusyWorker, task: RunningTask) -> dict[str, Any]:
    return {
        "id": task.id,
        "name": task.name,
        "args": [],  # arguments are data of clients, and a worker shows no monitor any data
        "kwargs": {},
        "type": task.name,
        "hostname": worker.hostname,
        "time_start": task.began_at,
        "acknowledged": False,
        "delivery_info": {"exchange": "", "routing_key": task.queue, "priority": 0, "redelivered": False},
        "worker_pid": worker.pid,
    }


def _stats(worker: BusyWorker) -> dict[str, Any]:
    return {
        "total": worker.report.totals,
        "pid": worker.pid,
        "uptime": round(time.time() - worker.started_at),
        "clock": "0",
        "prefetch_count": 0,
        "pool": {
            "implementation": "mlq.engine.celery.pool:SoloPool",
            "max-concurrency": 1,
            "processes": [worker.pid],
            "max-tasks-per-child": None,
            "put-guarded-by-semaphore": True,
            "timeouts": [],
        },
    }


def _queue(name: str) -> dict[str, Any]:
    from kombu import Exchange, Queue

    return dict(Queue(name, Exchange(name), routing_key=name).as_dict(recurse=True))
