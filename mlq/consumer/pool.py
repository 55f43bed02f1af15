"""The solo pool: one message at a time in the worker's own process, and given back when told to stop at once."""

from __future__ import annotations

from typing import Any

from celery.concurrency.solo import TaskPool
from celery.exceptions import WorkerTerminate


class SoloPool(TaskPool):
    """Celery's solo pool, which can also let go of the running task.

    Stock solo has no `terminate_job`: on a cold shutdown (SIGQUIT, a second Ctrl-C) NotImplementedError is raised
    inside the running task, stored as its failure and acknowledged, so the work is lost.
    """

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Leave the task at once. WorkerTerminate passes through the tracer without an ack: the message goes back."""
        del pid, signal
        raise WorkerTerminate(0)
