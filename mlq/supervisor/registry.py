"""Heartbeats of workers, as their supervisor describes them, also while they are busy, hung or failed."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import psutil

from mlq import __version__
from mlq.store.workers.heartbeats import Heartbeat

if TYPE_CHECKING:
    from mlq.ipc.shared_pages import WorkerReport
    from mlq.supervisor.child import Child
    from mlq.supervisor.spec import WorkerSpec

NOT_LOOKING_S: Final = 20.0
"""Seconds without a look for work after which an idle worker counts as hung. It looks every few seconds, even while the
broker is away."""

_LOOK_EVERY_S: Final = 1.0
"""Seconds between two looks at a worker's process: reading /proc costs more than reading the report."""

_FROZEN: Final = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_DEAD})


def blank(spec: WorkerSpec, wid: str) -> Heartbeat:
    """Return the heartbeat of a worker of which only the spec is known."""
    return Heartbeat(
        id=wid,
        name=spec.name,
        host=socket.gethostname(),
        pid=None,
        gpu=spec.gpu.uuid if spec.gpu else None,
        device="cuda:0" if spec.gpu else "cpu",
        state="starting",
        queues=spec.settings.served_queues,
        model=spec.settings.worker.model or "",
        fingerprint=None,
        task=None,
        tasks_done=0,
        rows_done=0,
        started_at=time.time(),
        rss_bytes=0,
        supervisor=os.getpid(),
        supervisor_version=__version__,
    )


def alive(beat: Heartbeat, child: Child) -> Heartbeat:
    """Add to a heartbeat what the running process and its report page say."""
    now = time.monotonic()
    if now - child.looked_at >= _LOOK_EVERY_S:
        child.looked_at = now
        child.seen = memory_and_status(child.pid, pool=child.spec.pool is not None)
    memory, process_status = child.seen
    beat = replace(beat, pid=child.pid, rss_bytes=memory, ready_s=child.ready_s)
    report = child.report_page.read()
    if report is None:
        return beat
    hung = is_hung(report, process_status, now)
    return replace(beat.saying(report), state="hung") if hung else beat.saying(report)


def is_hung(report: WorkerReport, process_status: str, now: float) -> bool:
    """Return whether a worker makes no progress; `now` is the host's monotonic clock.

    A busy worker counts as hung only if its process is stopped: its time limit decides how long a task may take.
    """
    if process_status in _FROZEN:
        return True
    return report.state == "idle" and report.leased and now - report.looked_at > NOT_LOOKING_S


def memory_and_status(pid: int, *, pool: bool = False) -> tuple[int, str]:
    """Return the resident bytes of a process and psutil's name of its state; 0 and `dead` if it has ended.

    For a `pool` the bytes of its processes are added; shared memory counts in each of them.
    """
    try:
        process = psutil.Process(pid)
        rss = process.memory_info().rss
        for child in process.children() if pool else ():
            with suppress(psutil.Error):  # it may have ended meanwhile
                rss += child.memory_info().rss
        return rss, process.status()
    except psutil.Error:
        return 0, psutil.STATUS_DEAD
