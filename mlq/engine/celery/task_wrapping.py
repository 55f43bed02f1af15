"""Bodies: when a task's own code has ended, what is published follows from it, and goes out with its end."""

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


def mark(app: Celery, ledger: Ledger | None, limits: TimeLimits) -> None:
    """Time every task's body, and tell the ledger of its end: what is published is kept from then on.

    Not from its beginning: what a body sends it may wait for. No ledger: another broker keeps what it delivered.
    """
    for task in app.tasks.values():
        _mark(task, ledger, limits)


def contain(app: Celery) -> None:
    """Let no task's body raise what would end the process that runs it; for pools that time their tasks themselves."""
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
    """Return what Celery's tracer is to see instead of `error`: an exception that it stores as the task's failure.

    Retry, Ignore and Reject are words to the tracer, not failures. Raises `error` if it is an order to end.
    """
    if isinstance(error, TaskPredicate):
        return _without_text(error)
    if isinstance(error, MemoryError):
        return presentable(_namesake(error))
    return presentable(storable(contained(error)))


def _cause(error: BaseException) -> BaseException | None:
    """Return what a failure's traceback is to name as its cause: nothing where that would show a withheld text."""
    return None if withholds_texts() else error


def _without_text(error: TaskPredicate) -> TaskPredicate:
    """Take the text of what failed out of a word to the tracer: it logs and stores why a task is tried again."""
    if not withholds_texts():
        return error
    word: Any = error  # whose stubs know fewer attributes than there are
    word.__cause__, word.__suppress_context__ = None, True
    if isinstance(error, Retry):
        word.exc = presentable(word.exc) if isinstance(word.exc, Exception) else None
        word.excs, word.message = repr(word.exc) if word.exc else None, None
        word.args = (None, word.exc, word.when)
    elif isinstance(error, Reject):
        word.reason = presentable(word.reason) if isinstance(word.reason, Exception) else None
        word.args = (word.reason, word.requeue)
    return error


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


def _mark(task: Task[Any, Any], ledger: Ledger | None, limits: TimeLimits) -> None:
    run, retry, replace, add = task.run, task.retry, task.on_replace, task.add_to_chord

    def ended() -> None:
        # A task that another one calls as a function, an errback above all, has no claim, and ends nothing.
        if ledger is not None and ledger.claim_of(task.request.id or "") is not None:
            ledger.collect(task.request.id)

    @functools.wraps(run)
    def body(*args: Any, **kwargs: Any) -> Any:
        limit = effective(task.request.timelimit, task, limits.worker, limits.of_messages)
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
        ended()  # the last thing that the body does is to publish what replaces it
        return replace(*args, **kwargs)

    @functools.wraps(add)
    def added(sig: Any, lazy: bool = False) -> Any:  # noqa: FBT001, FBT002 (Celery's signature)
        # Lazy: the body publishes the part, when it wants to. Elsewhere: the chord grows at once, on another server.
        if lazy or ledger is None or not isinstance(task.backend, ClaimBackend):
            return add(sig, lazy)  # type: ignore[call-overload]
        with ledger.following(task.request.id or ""):  # the chord must grow if and only if the part is published
            return add(sig)

    task.run, task.retry, task.on_replace, task.add_to_chord = body, retried, replaced, added  # type: ignore[method-assign]
