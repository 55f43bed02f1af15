"""What a worker is doing right now, and what it did so far: the source of its heartbeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import signals
from celery.platforms import EX_OK
from celery.worker import state

from mlq.model.failure import DeviceLost


class Activity:
    """Counters and state of this process. Written by the main thread, read by the heartbeat's.

    Single attributes are replaced whole, so a reader sees an old value or a new one, never half of one.
    """

    def __init__(self) -> None:
        self.changed: Callable[[], None] = _nobody
        self.state = "starting"
        self.fingerprint: str | None = None
        self.task: str | None = None
        self.tasks_done = 0
        self.rows_done = 0
        self.device_error: DeviceLost | None = None

    def connect(self) -> None:
        """Follow Celery's own signals."""
        signals.worker_ready.connect(self._ready, weak=False)
        signals.worker_shutting_down.connect(self._draining, weak=False)
        signals.task_prerun.connect(self.began, weak=False)
        signals.task_postrun.connect(self._one_ended, weak=False)

    def count_task(self) -> None:
        """Add a task that was answered."""
        self.tasks_done += 1

    def count_rows(self, rows: int) -> None:
        """Add to the rows answered."""
        self.rows_done += rows

    def device_lost(self, reason: DeviceLost) -> None:
        """Take no more work; the process ends with the running message and is replaced."""
        self.device_error = reason
        setattr(state, "should_stop", EX_OK)  # noqa: B010 (the stubs know None alone)

    def _ready(self, **_: Any) -> None:
        self._become("idle")

    def _draining(self, **_: Any) -> None:
        self._become("draining")

    def began(self, task_id: str, **_: Any) -> None:
        """Be busy with a task, or with a batch that begins with it."""
        self.task = task_id
        self._become("busy")

    def ended(self, tasks: int, rows: int) -> None:
        """Be idle again, having done so much more."""
        self.task = None
        self.tasks_done += tasks
        self.rows_done += rows
        self._become("idle")

    def _one_ended(self, **_: Any) -> None:
        self.ended(tasks=1, rows=0)

    def _become(self, new: str) -> None:
        if self.state != "draining":
            self.state = new
        self.changed()


def _nobody() -> None:
    """Tell nobody: who wants to know of changes sets `changed`."""
