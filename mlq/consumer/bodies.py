"""Bodies: when a task's own code has ended, what is published follows from it, and goes out with its end."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from celery import signals

from mlq.consumer.limits import effective

if TYPE_CHECKING:
    from celery import Celery, Task

    from mlq.consumer.ledger import Ledger
    from mlq.consumer.limits import Limits


def mark(app: Celery, ledger: Ledger | None, limits: Limits) -> None:
    """Time every task's body, and tell the ledger of its end: what is published is kept from then on.

    Not from its beginning: what a body sends it may wait for. No ledger: another broker keeps what it delivered.
    """
    for task in app.tasks.values():
        _mark(task, ledger, limits)


def _namesake(error: MemoryError) -> Exception:
    """Make an exception of the same name that is no MemoryError: at one of those Celery ends the whole worker.

    Whoever asks for the result sees the name alone, and so sees what was raised.
    """
    kind = type(error)
    methods = {"__module__": kind.__module__, "__reduce__": lambda self: (kind, self.args)}
    namesake: type[Exception] = type(kind.__name__, (Exception,), methods)
    return namesake(*error.args)


def follow(ledger: Ledger) -> None:
    """Tell the ledger when Celery's tracer has ended a task."""

    def trace_ended(task_id: str, **_: Any) -> None:
        ledger.end(task_id)

    signals.task_postrun.connect(trace_ended, weak=False)


def _mark(task: Task[Any, Any], ledger: Ledger | None, limits: Limits) -> None:
    run, retry = task.run, task.retry

    def ended() -> None:
        if ledger is not None:
            ledger.collect(task.request.id)

    @functools.wraps(run)
    def body(*args: Any, **kwargs: Any) -> Any:
        limit = effective(task.request.timelimit, task, limits.worker)
        claim = ledger.claim_of(task.request.id or "") if ledger is not None else None
        try:
            with limits.over(limit, [claim.id] if claim else []):
                return run(*args, **kwargs)
        except MemoryError as exc:
            raise _namesake(exc) from exc
        finally:
            ended()

    @functools.wraps(retry)
    def retried(*args: Any, **kwargs: Any) -> Any:
        ended()  # a retry is published inside the body
        return retry(*args, **kwargs)

    task.run, task.retry = body, retried  # type: ignore[method-assign]
