"""The source of heartbeats: a supervisor describes its workers, also while they are busy, hung or failed."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import psutil

from mlq import __version__
from mlq.store.workers.heartbeats import Heartbeat
from mlq.supervisor.supervisor import Phase

if TYPE_CHECKING:
    from mlq.ipc.shared_pages import WorkerReport
    from mlq.supervisor.view import FleetView, SlotView, WorkerView

NOT_LOOKING_S: Final = 20.0
"""Seconds without a look for work after which an idle worker counts as hung. It looks every few seconds, even while the
broker is away."""

_LOOK_EVERY_S: Final = 1.0
"""Seconds between two looks at a worker's process: reading /proc costs more than reading the report."""

_FROZEN: Final = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_DEAD})


class HeartbeatSource:
    """Describes the workers of a view. It belongs to one thread, because it remembers what it found in /proc."""

    def __init__(self, view: Callable[[], FleetView]) -> None:
        self._view = view
        #: By worker id: when /proc was read last (seconds, monotonic), the resident bytes, and the process's state.
        self._processes: dict[str, tuple[float, int, str]] = {}

    def read(self) -> list[Heartbeat]:
        """Return the heartbeat of each worker that runs, or that should run."""
        slots = self._view().slots
        present = {slot.worker.wid for slot in slots if slot.worker is not None}
        self._processes = {wid: seen for wid, seen in self._processes.items() if wid in present}
        beats = [self._describe(slot, slot.worker) for slot in slots if slot.worker is not None]
        return [beat for beat in beats if beat is not None]

    def _describe(self, slot: SlotView, worker: WorkerView) -> Heartbeat | None:
        beat = _blank(worker, slot.state.restarts)
        match slot.state.phase:
            case Phase.STOPPED:
                return None
            case Phase.WAITING:
                return beat
            case Phase.FAILED | Phase.ABANDONED:
                return replace(beat, state="failed")
            case Phase.RUNNING:
                # A worker that has ended keeps its slot until the processes that it started have ended, too.
                beat = beat if worker.has_ended else self._running(beat, worker)
                is_ending = slot.state.is_draining and beat.state != "hung"
                return replace(beat, state="draining") if is_ending else beat

    def _running(self, beat: Heartbeat, worker: WorkerView) -> Heartbeat:
        """Add to a heartbeat what the running process and its report page say."""
        now = time.monotonic()
        looked_at, memory, process_status = self._processes.get(worker.wid, (-math.inf, 0, ""))
        if now - looked_at >= _LOOK_EVERY_S:
            memory, process_status = memory_and_status(worker.pid, pool=worker.spec.pool is not None)
            self._processes[worker.wid] = now, memory, process_status
        beat = replace(beat, pid=worker.pid, rss_bytes=memory, ready_s=worker.ready_s)
        report = worker.report_page.read()
        if report is None:
            return beat
        hung = is_hung(report, process_status, now)
        return replace(beat.saying(report), state="hung") if hung else beat.saying(report)


def _blank(worker: WorkerView, restarts: int) -> Heartbeat:
    """Return the heartbeat of a worker that starts."""
    spec = worker.spec
    return Heartbeat(
        id=worker.wid,
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
        started_at=worker.started_at,
        rss_bytes=0,
        restarts=restarts,
        supervisor=os.getpid(),
        supervisor_version=__version__,
    )


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
