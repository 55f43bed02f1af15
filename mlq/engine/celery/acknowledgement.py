"""Acknowledging where Celery's own transport takes the messages: at once, and for tasks that ran out of time, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlq.engine.celery import task_wrapping

if TYPE_CHECKING:
    from celery import Celery

    from mlq.engine.time_limits import TimeLimits


def begin(app: Celery, limits: TimeLimits) -> None:
    """Time all tasks known by now, and let the solo worker of this app send each acknowledgement at once.

    Celery puts it off to the next turn of kombu's loop. When a task has run inside the loop, before it polls, that turn
    begins with waiting for the socket: the broker holds the next message back until the acknowledgement comes, and the
    worker stands still until a timer wakes it, up to 10 s later. The solo pool runs tasks in the loop's own thread,
    which is the one that may write to the connection.
    """
    from celery import bootsteps

    class AcknowledgeAtOnce(bootsteps.Step):
        def __init__(self, consumer: Any, **options: Any) -> None:
            super().__init__(consumer, **options)
            # Celery acknowledges through call_soon_ack since 5.7, and through call_soon before.
            for name in ("call_soon", "call_soon_ack"):
                setattr(consumer, name, _call_now)
            create = consumer.create_task_handler
            consumer.create_task_handler = lambda *args, **kwargs: _unless_stopping(create(*args, **kwargs))

    app.steps["consumer"].add(AcknowledgeAtOnce)
    limits.answer_first(answer_overdue)
    task_wrapping.mark(app, None, limits)


def answer_overdue(seconds: float) -> None:
    """Answer the running task with TimeLimitExceeded and acknowledge it, as the main process of Celery's pools does."""
    from celery.worker import state

    for request in list(state.active_requests):
        request.on_timeout(False, seconds)  # noqa: FBT003 (Celery's word for: this is not the soft limit)


def _unless_stopping(handle: Callable[[Any], None]) -> Callable[[Any], None]:
    """Give messages back that come while the worker ends.

    The acknowledgement of the last task lets the broker deliver the next one. Celery would run it while it waits for
    the answer to its cancellation.
    """
    from celery.worker import state

    def take(message: Any) -> None:
        # An exit code, which may be 0, or None or False as long as the worker goes on.
        if any(code is not None and code is not False for code in (state.should_stop, state.should_terminate)):
            message.requeue()
        else:
            handle(message)

    return take


def _call_now(callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """Take the place of Consumer.call_soon and call_soon_ack, with their signature."""
    callback(*args, **kwargs)
    return callback
