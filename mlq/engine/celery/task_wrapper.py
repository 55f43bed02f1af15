"""Task wrapping: a task's code is timed, and messages published after it are sent with the task's end."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.exceptions import Reject, Retry, TaskPredicate

from mlq.engine.celery.backend import ClaimBackend
from mlq.engine.time_limits import effective
from mlq.model.failure import contained, presentable, storable, withholds_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery, Task

    from mlq.engine.ledger import Ledger
    from mlq.engine.time_limits import TimeLimits


def wrap(app: Celery, ledger: Ledger | None, limits: TimeLimits) -> None:
    """Time the body of each task, and let the ledger keep what is published after the end of the body.

    Messages published *during* the task body are sent at once, because the body may wait for their results. Without a
    ledger, all messages are sent at once: there the broker keeps the message until its acknowledgement.
    """
    for task in app.tasks.values():
        _wrap(task, ledger, limits)


def contain(app: Celery) -> None:
    """Let no task's body raise what would end its process; for pools, which time their tasks themselves."""
    for task in app.tasks.values():
        task.run = _contained(task.run)  # type: ignore[method-assign]


def _contained(run: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(run)
    def body(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except BaseException as exc:
            failure = in_tracer(exc)
            if failure is exc:
                raise
            raise failure from _cause(exc)

    return body


def in_tracer(error: BaseException) -> Exception:
    """Return the exception that Celery's tracer gets instead of `error`, and stores as the failure of the task.

    Retry, Ignore and Reject are instructions to the tracer, not failures. Raises `error` if it is an order to end.
    """
    if isinstance(error, TaskPredicate):
        return _without_text(error)
    if isinstance(error, MemoryError):
        return presentable(_namesake(error))
    return presentable(storable(contained(error)))


def _cause(error: BaseException) -> BaseException | None:
    """Return the cause that the traceback of a failure shows: None if that would show a withheld text."""
    return None if withholds_texts() else error


def _without_text(error: TaskPredicate) -> TaskPredicate:
    """Remove the text of the error from an instruction to the tracer, which logs and stores the reason of a retry."""
    if not withholds_texts():
        return error
    raised: Any = error  # the stubs lack some attributes
    raised.__cause__, raised.__suppress_context__ = None, True
    if isinstance(error, Retry):
        raised.exc = presentable(raised.exc) if isinstance(raised.exc, Exception) else None
        raised.excs, raised.message = repr(raised.exc) if raised.exc else None, None
        raised.args = (None, raised.exc, raised.when)
    elif isinstance(error, Reject):
        raised.reason = presentable(raised.reason) if isinstance(raised.reason, Exception) else None
        raised.args = (raised.reason, raised.requeue)
    return error


def _namesake(error: MemoryError) -> Exception:
    """Return an exception of the same name that is not a MemoryError, for which Celery would end the worker.

    A client that reads the result sees only the name, and so sees what was raised.
    """
    kind = type(error)
    methods = {"__module__": kind.__module__, "__reduce__": lambda self: (kind, self.args)}
    namesake: type[Exception] = type(kind.__name__, (Exception,), methods)
    return namesake(*error.args)


def follow(ledger: Ledger) -> None:
    """Let the ledger know when Celery's tracer has ended a task."""

    def trace_ended(task_id: str, **_: Any) -> None:
        ledger.end(task_id)

    signals.task_postrun.connect(trace_ended, weak=False)


def _wrap(task: Task[Any, Any], ledger: Ledger | None, limits: TimeLimits) -> None:
    run, retry, replace, add = task.run, task.retry, task.on_replace, task.add_to_chord

    def ended() -> None:
        # A task that is called as a function, mostly an errback, has no claim, so its end is not an end of a message.
        if ledger is not None and ledger.claim_of(task.request.id or "") is not None:
            ledger.collect(task.request.id)

    @functools.wraps(run)
    def body(*args: Any, **kwargs: Any) -> Any:
        limit = effective(task.request.timelimit, task, limits.worker, limits.message_limits)
        claim = ledger.claim_of(task.request.id or "") if ledger is not None else None
        try:
            with limits.over(limit, [claim.id] if claim else []):
                return run(*args, **kwargs)
        except BaseException as exc:
            failure = in_tracer(exc)
            if failure is exc:
                raise
            raise failure from _cause(exc)
        finally:
            ended()

    @functools.wraps(retry)
    def retried(*args: Any, **kwargs: Any) -> Any:
        ended()  # a retry is published inside the body
        return retry(*args, **kwargs)

    @functools.wraps(replace)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        ended()  # the body ends by publishing the task that replaces it
        return replace(*args, **kwargs)

    @functools.wraps(add)
    def added(sig: Any, lazy: bool = False) -> Any:  # noqa: FBT001, FBT002 (Celery's signature)
        # With lazy, the body publishes the part later. On another server, the chord grows at once.
        if lazy or ledger is None or not isinstance(task.backend, ClaimBackend):
            return add(sig, lazy)  # type: ignore[call-overload]
        with ledger.following(task.request.id or ""):  # the chord must grow if and only if the part is published
            return add(sig)

    task.run, task.retry, task.on_replace, task.add_to_chord = body, retried, replaced, added  # type: ignore[method-assign]
