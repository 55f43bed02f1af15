"""Pools and their end: the solo pool, which gives its message back on a cold shutdown, and how processes are ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.concurrency.solo import TaskPool
from celery.exceptions import Reject, WorkerTerminate
from celery.worker import state

from mlq.model.failure import contained


class TaskGivenBack(WorkerTerminate):
    """Leaves the running task. Only signal handlers of this process raise it; a model may raise anything else."""


def is_let_go(error: BaseException) -> bool:
    """Return whether an exception that passes through a model is an order to end this process."""
    return isinstance(error, TaskGivenBack)


class SoloPool(TaskPool):
    """Celery's solo pool, which can also give the running task back, and fails a task for any BaseException.

    Stock solo has no `terminate_job`. On a cold shutdown (SIGQUIT, a second Ctrl-C), NotImplementedError is raised in
    the running task, stored as its failure and acknowledged, so the work is lost. And if a hook of a task raises what
    is not an Exception (sys.exit, WorkerShutdown), a stock worker ends, each time that the message is delivered.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stock: Any = self
        stock.on_apply = _apply

    def terminate_job(self, pid: int, signal: Any = None) -> None:  # noqa: ARG002 (the pool's signature)
        """Leave the task at once. The tracer passes WorkerTerminate on without an ack, so the message goes back."""
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
    except Reject as exc:  # raised by the result backend, outside of the tracer's handlers
        if error_callback is None:
            raise
        error_callback(ExceptionInfo((Reject, exc, exc.__traceback__)))
    except Exception:
        raise
    except BaseException as exc:
        failed = contained(exc)  # raises TaskGivenBack again, the only order to end
        if error_callback is None:
            raise failed from exc
        error_callback(ExceptionInfo((type(failed), failed, exc.__traceback__)))
    else:
        if callback:
            callback(result)


def let_go_on_sigquit(is_computing: Callable[[], bool]) -> None:
    """Leave a forward of the engine at SIGQUIT, too: Celery sees no running task then, so it would wait."""
    stock = signal.getsignal(signal.SIGQUIT)

    def let_go(number: int, frame: Any) -> None:
        if is_computing():
            raise TaskGivenBack(0)
        if callable(stock):
            stock(number, frame)

    signal.signal(signal.SIGQUIT, let_go)


def stop_worker(code: int) -> None:
    """Let Celery's worker in this process end after the running task, with an exit code.

    With `should_terminate`, the public way, Celery would end at once, and exit with 0.
    """
    stock: Any = state  # the stubs know None alone
    stock.should_stop = code


def is_termination(error: BaseException) -> bool:
    """Recognize the SystemExit with which billiard's SIGTERM handler ends a process of the prefork pool."""
    from billiard import common

    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    stock: Any = common  # the stubs lack this name
    handler = stock._shutdown_cleanup.__code__  # noqa: SLF001 (only this function raises it)
    return frame is not None and frame.tb_frame.f_code is handler
