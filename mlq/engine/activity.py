"""The activity of a worker: what it does now and has done so far, which is the source of its report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from celery import signals
from celery.worker import state

from mlq import __version__
from mlq.engine.recycling import Recycling
from mlq.exit_codes import ExitCode
from mlq.ipc.shared_pages import RunningTask, WorkerReport
from mlq.model.failure import DeviceLost
from mlq.protocol.names import JOB_HEADER

log = logging.getLogger("mlq.worker")


_LOOKED_EVERY_S: Final = 1.0
"""Seconds between two reports that the worker asked for work: it asks with each message."""


class Activity:
    """Keeps a WorkerReport up to date, and calls `changed` with it.

    Each attribute is replaced as a whole, so a thread that reads it sees the old value or the new one.
    """

    def __init__(self, changed: Callable[[WorkerReport], None], recycling: Recycling) -> None:
        self.report = WorkerReport(since=time.time(), version=__version__)
        self.device_error: DeviceLost | None = None
        self.results_error: Exception | None = None
        self.recycled = False
        self._recycling = recycling
        self._changed = changed
        self._began_at = 0.0
        self._in_batch = False

    def connect(self) -> None:
        """Follow Celery's signals."""
        signals.worker_ready.connect(self._ready, weak=False)
        signals.worker_shutting_down.connect(self._draining, weak=False)
        signals.task_prerun.connect(self._task_began, weak=False)
        signals.task_postrun.connect(self._task_ended, weak=False)

    def say(self) -> None:
        """Publish the present report."""
        self._changed(self.report)

    def loaded(self, fingerprint: str | None, max_batch_size: int) -> None:
        """Report that the model is loaded."""
        self.report.fingerprint, self.report.max_batch_size = fingerprint, max_batch_size
        self._changed(self.report)

    def leased(self) -> None:
        """Report that there is a lease, which has to be renewed from now on."""
        self.report.leased = True
        self._changed(self.report)

    def left(self) -> None:
        """Report that the lease is about to be given back: if it is missing from now on, it was not lost."""
        self.report.leased = False
        self._changed(self.report)

    def looked(self) -> None:
        """Report that the worker asked for work, at most once a second."""
        now = time.monotonic()
        if now - self.report.looked_at >= _LOOKED_EVERY_S:
            self.report.looked_at = now
            self._changed(self.report)

    def limited(self, rate_limits: dict[str, str]) -> None:
        """Report the tasks that have a rate limit: their messages may wait while this worker is idle."""
        self.report.rate_limits = rate_limits
        self._changed(self.report)

    def count_task(self, name: str, queue: str) -> None:
        """Count a task that has ended."""
        self.report.tasks_done += 1
        self.report.totals[name] = self.report.totals.get(name, 0) + 1
        self.report.done[queue] = self.report.done.get(queue, 0) + 1

    def count_rows(self, rows: int) -> None:
        """Count rows that were answered."""
        self.report.rows_done += rows

    def count_forward(self, rows: int, seconds: float) -> None:
        """Count a turn that was a single forward."""
        sums = (1, rows, seconds, rows * rows, rows * seconds, seconds * seconds)
        self.report.forwards = [a + b for a, b in zip(self.report.forwards, sums, strict=True)]

    def device_lost(self, reason: DeviceLost) -> None:
        """Stop claiming, because the device failed; the process ends after the running message, and is replaced."""
        log.error(
            "the device failed, and this process cannot use it again: %s", reason, extra={"action": "device_lost"}
        )
        self.device_error = reason
        setattr(state, "should_stop", ExitCode.DONE)  # noqa: B010 (the stubs know None alone)

    def results_lost(self, reason: Exception) -> None:
        """Stop claiming, because no result can be stored; claims go back to their queues, and the process ends."""
        self.results_error = reason
        setattr(state, "should_stop", ExitCode.DONE)  # noqa: B010 (the stubs know None alone)

    @property
    def is_ending(self) -> bool:
        """Whether nothing more may run here, because the device or the result backend failed."""
        return self.device_error is not None or self.results_error is not None

    def _ready(self, **_: Any) -> None:
        self._become("idle")

    def _draining(self, **_: Any) -> None:
        self._become("draining")

    def batch_began(self, tasks: Sequence[RunningTask]) -> None:
        """Report that a batch of these tasks runs. It includes those of them that Celery runs."""
        self._in_batch = True
        self._began(tasks)

    def batch_ended(self) -> None:
        """Report that the batch has ended."""
        self._in_batch = False
        self._ended()

    def _began(self, tasks: Sequence[RunningTask]) -> None:
        self._began_at = time.monotonic()
        self.report.task, self.report.running = tasks[0].id, list(tasks)
        self._become("busy")

    def _ended(self) -> None:
        self.report.task, self.report.running = None, []
        self.report.busy_s += time.monotonic() - self._began_at
        self._become("idle")
        reason = self._recycling.reason(self.report.tasks_done)
        if reason is not None and not self.recycled:
            log.info("this worker ends, to be replaced: %s", reason, extra={"action": "worker_recycled"})
            self.recycled = True
            setattr(state, "should_stop", ExitCode.DONE)  # noqa: B010 (the stubs know None alone)

    def _task_began(self, task_id: str, task: Any = None, **_: Any) -> None:
        if not self._in_batch:
            place = getattr(task.request, JOB_HEADER, None)
            running = RunningTask(task_id, task.name, _queue_of(task), time.time(), not task.acks_late, place)
            self._began([running])

    def _task_ended(self, task: Any = None, **_: Any) -> None:
        self.count_task(task.name, _queue_of(task))
        if not self._in_batch:
            self._ended()

    def _become(self, new: str) -> None:
        if self.report.state not in {"draining", new}:
            self.report.state, self.report.since = new, time.time()
        self._changed(self.report)


def _queue_of(task: Any) -> str:
    delivery: Mapping[str, Any] = task.request.delivery_info or {}
    return str(delivery.get("routing_key") or "")
