"""Messages of strangers, looked at before Celery does, where its own transport takes them: RabbitMQ, prefork pools.

The engine decodes and checks by itself. Celery calculates with whatever a message says, and some of that ends the
worker, or one process of its pool after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery.exceptions import InvalidTaskError

from mlq.consumer.envelope import why_refused

if TYPE_CHECKING:
    from celery import Celery

    from mlq.consumer.limits import OfMessages

Take = Callable[[Any], None]


def screen(app: Celery, of_messages: OfMessages) -> None:
    """Let the worker of this app refuse what it cannot calculate with; call it before the worker is made."""
    from celery import bootsteps

    class Screening(bootsteps.Step):
        def __init__(self, consumer: Any, **options: Any) -> None:
            super().__init__(consumer, **options)
            create = consumer.create_task_handler
            consumer.create_task_handler = lambda *args, **kwargs: _screened(
                consumer, create(*args, **kwargs), of_messages
            )

    app.steps["consumer"].add(Screening)


def _screened(consumer: Any, handle: Take, of_messages: OfMessages) -> Take:
    passing = (*consumer.connection_errors, *consumer.channel_errors, OSError)  # the broker's trouble, no message's

    def take(message: Any) -> None:
        headers = message.headers
        why = why_refused(headers, message.properties) if isinstance(headers, dict) and "task" in headers else None
        if why is not None:
            consumer.on_invalid_task(None, message, InvalidTaskError(why))
            return
        if isinstance(headers, dict) and headers.get("timelimit"):
            headers["timelimit"] = list(of_messages.of(headers["timelimit"]))
        try:
            handle(message)
        except passing:
            raise
        except Exception as exc:
            if message.acknowledged:
                raise
            consumer.on_invalid_task(None, message, InvalidTaskError(f"{type(exc).__name__}: {exc}"))

    return take
