"""The solo pool: one message at a time in the worker's own process, and given back when told to stop at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.concurrency.solo import TaskPool
from celery.exceptions import Reject, WorkerTerminate

from mlq.model.failure import contained


class TaskGivenBack(WorkerTerminate):
    """Raised by signal handlers of this process alone, to leave the running task; a model may raise anything else."""


def is_let_go(error: BaseException) -> bool:
    """Recognize an order to end among the exceptions that pass through a model."""
    return isinstance(error, TaskGivenBack)


class SoloPool(TaskPool):
    """Celery's solo pool, which can also let go of the running task, and fails a task that raises no Exception.

    Stock solo has no `terminate_job`: on a cold shutdown (SIGQUIT, a second Ctrl-C) NotImplementedError is raised
    inside the running task, stored as its failure and acknowledged, so the work is lost. And what a task's hooks raise
    that is no Exception (sys.exit, WorkerShutdown) ends a stock worker, each time that the message is delivered.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stock: Any = self
        stock.on_apply = _apply

    def terminate_job(self, pid: int, signal: Any = None) -> None:  # noqa: ARG002 (the pool's signature)
        """Leave the task at once. WorkerTerminate passes through the tracer without an ack: the message goes back."""
        raise TaskGivenBack(0)


def _apply(
    target: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callback: Callable[[Any], Any] | None = None,
    accept_callback: Callable[[int, float], Any] | None = None,
    error_callback: Callable[[ExceptionInfo], Any] | None = None,
    **_: Any,
) -> None:
    """Run a task in this process, as Celery's pools call it."""
    if accept_callback:
        accept_callback(os.getpid(), time.monotonic())
    try:
        result = target(*args, **(kwargs or {}))
    except Reject as exc:  # from the result backend, outside of what the tracer handles
        if error_callback is None:
            raise
        error_callback(ExceptionInfo((Reject, exc, exc.__traceback__)))
    except Exception:
        raise
    except BaseException as exc:
        failed = contained(exc)  # raises LetGo again, which alone is an order to end
        if error_callback is None:
            raise failed from exc
        error_callback(ExceptionInfo((type(failed), failed, exc.__traceback__)))
    else:
        if callback:
            callback(result)


def let_go_on_sigquit(is_computing: Callable[[], bool]) -> None:
    """Leave a forward of the engine's in the middle, too: to Celery no task is running then, so it would wait."""
    stock = signal.getsignal(signal.SIGQUIT)

    def let_go(number: int, frame: Any) -> None:
        if is_computing():
            raise TaskGivenBack(0)
        if callable(stock):
            stock(number, frame)

    signal.signal(signal.SIGQUIT, let_go)
