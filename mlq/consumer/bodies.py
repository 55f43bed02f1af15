"""Bodies: when a task's own code has ended, what is published follows from it, and goes out with its end."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from celery import signals

if TYPE_CHECKING:
    from celery import Celery, Task

    from mlq.consumer.ledger import Ledger


def mark_ends(app: Celery, ledger: Ledger) -> None:
    """Tell the ledger of every task's end: links, chains, chord bodies and retries are kept from then on.

    Not from its beginning: what a body sends it may wait for.
    """
    for task in app.tasks.values():
        _mark(task, ledger)


def follow(ledger: Ledger) -> None:
    """Tell the ledger when Celery's tracer has ended a task."""

    def trace_ended(task_id: str, **_: Any) -> None:
        ledger.end(task_id)

    signals.task_postrun.connect(trace_ended, weak=False)


def _mark(task: Task[Any, Any], ledger: Ledger) -> None:
    run, retry = task.run, task.retry

    @functools.wraps(run)
    def body(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        finally:
            ledger.collect(task.request.id)

    @functools.wraps(retry)
    def retried(*args: Any, **kwargs: Any) -> Any:
        ledger.collect(task.request.id)  # a retry is published inside the body
        return retry(*args, **kwargs)

    task.run, task.retry = body, retried  # type: ignore[method-assign]
