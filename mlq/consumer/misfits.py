"""Misfits: messages at which Celery's own consumer raises; it would end its worker, and the next one, and so on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)


def refuse(app: Celery) -> None:
    """Let the worker of this app refuse a message that it cannot even look at, and go on.

    Such as one whose task is named by an object, or one of an unknown task without an id: Celery looks both up without
    a check, outside of what contains a task. The engine reads messages in a way of its own, and needs none of this.
    """
    from celery import bootsteps

    class RefuseMisfits(bootsteps.Step):
        def __init__(self, consumer: Any, **options: Any) -> None:
            super().__init__(consumer, **options)
            create = consumer.create_task_handler
            consumer.create_task_handler = lambda *args, **kwargs: _contained(create(*args, **kwargs), consumer)

    app.steps["consumer"].add(RefuseMisfits)


def _contained(handle: Callable[[Any], None], consumer: Any) -> Callable[[Any], None]:
    # A connection that is lost is Celery's to mend. Of memory that is used up the message may be innocent.
    passing = (*consumer.connection_errors, *consumer.channel_errors, MemoryError)

    def take(message: Any) -> None:
        try:
            handle(message)
        except passing:
            raise
        except Exception as exc:  # noqa: BLE001 (whatever a stranger's message leads to)
            log.error("a message is refused, at which Celery raised %s: %s", type(exc).__name__, exc)  # noqa: TRY400
            if not message.acknowledged:
                message.reject_log_error(log, consumer.connection_errors)
            _answer(message, consumer, exc)

    return take


def _answer(message: Any, consumer: Any, exc: Exception) -> None:
    """Tell whoever waits, if the message says for what."""
    from celery.exceptions import InvalidTaskError

    task_id = message.headers.get("id") if isinstance(message.headers, dict) else None
    if isinstance(task_id, str):
        with suppress(*consumer.connection_errors):  # the message is refused, answered or not
            consumer.app.backend.mark_as_failure(task_id, InvalidTaskError(f"{type(exc).__name__}: {exc}"))
