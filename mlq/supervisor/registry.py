"""Registry: what a supervisor says of its workers, busy, hung and failed ones too."""

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
    from mlq.ipc.worker_report import WorkerReport
    from mlq.supervisor.child import Child
    from mlq.supervisor.spec import WorkerSpec

NOT_LOOKING_S: Final = 20.0
"""An idle worker looks for work every few seconds, and tries to while the broker is away: so long, and it hangs."""

_LOOK_EVERY_S: Final = 1.0
"""Between two looks at a worker's process, which cost more than one at its report."""

_FROZEN: Final = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_DEAD})


def blank(spec: WorkerSpec, wid: str) -> Heartbeat:
    """Describe a worker of which nothing is known but what it is to be."""
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


def alive(said: Heartbeat, child: Child) -> Heartbeat:
    """Add to a description what the process and its board tell."""
    now = time.monotonic()
    if now - child.looked_at >= _LOOK_EVERY_S:
        child.looked_at = now
        child.seen = memory_and_status(child.pid, pool=child.spec.pool is not None)
    memory, process_status = child.seen
    said = replace(said, pid=child.pid, rss_bytes=memory, ready_s=child.ready_s)
    report = child.board.read()
    if report is None:
        return said
    hung = is_hung(report, process_status, now)
    return replace(said.saying(report), state="hung") if hung else said.saying(report)


def is_hung(report: WorkerReport, process_status: str, now: float) -> bool:
    """Tell a worker that makes no progress from one that is busy or idle; `now` is the host's monotonic clock.

    A busy one is not judged here: how long a task may take is its time limit's affair.
    """
    if process_status in _FROZEN:
        return True
    return report.state == "idle" and report.leased and now - report.looked_at > NOT_LOOKING_S


def memory_and_status(pid: int, *, pool: bool = False) -> tuple[int, str]:
    """Look at a process: resident bytes, and psutil's word for its state; 0 and `dead` for one that has gone.

    Of a `pool` the bytes of its processes are added up, what they share counted in each.
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
