"""The solo pool: one message at a time in the worker's own process, and given back when told to stop at once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from celery.concurrency.solo import TaskPool
from celery.exceptions import WorkerTerminate


class SoloPool(TaskPool):
    """Celery's solo pool, which can also let go of the running task.

    Stock solo has no `terminate_job`: on a cold shutdown (SIGQUIT, a second Ctrl-C) NotImplementedError is raised
    inside the running task, stored as its failure and acknowledged, so the work is lost.
    """

    def terminate_job(self, pid: int, signal: Any = None) -> None:  # noqa: ARG002 (the pool's signature)
        """Leave the task at once. WorkerTerminate passes through the tracer without an ack: the message goes back."""
        raise WorkerTerminate(0)


def let_go_on_sigquit(is_computing: Callable[[], bool]) -> None:
    """Leave a forward of the engine's in the middle, too: to Celery no task is running then, so it would wait."""
    stock = signal.getsignal(signal.SIGQUIT)

    def let_go(number: int, frame: Any) -> None:
        if is_computing():
            raise WorkerTerminate(0)
        if callable(stock):
            stock(number, frame)

    signal.signal(signal.SIGQUIT, let_go)
