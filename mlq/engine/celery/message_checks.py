"""Messages of strangers, looked at before Celery does, where its own transport takes them: RabbitMQ, prefork pools.

The engine decodes and checks by itself. Celery calculates with whatever a message says, and some of that ends the
worker, or one process of its pool after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery.exceptions import InvalidTaskError

from mlq.protocol import signatures
from mlq.protocol.message import why_refused

if TYPE_CHECKING:
    from celery import Celery

    from mlq.engine.time_limits import OfMessages

log = logging.getLogger("mlq.strangers")

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
        if (why := _why_refused(message)) is not None:
            consumer.on_invalid_task(None, message, InvalidTaskError(why))
            return
        if isinstance(headers, dict) and headers.get("timelimit"):
            headers["timelimit"] = list(of_messages.of(headers["timelimit"]))
        try:
            handle(message)
        except passing:
            raise
        except Exception as exc:  # noqa: BLE001 (what Celery raises at a message that it cannot even look at)
            why = f"{type(exc).__name__}: {exc}"
            if message.acknowledged:
                log.error("a message cannot be ended by Celery: %s", why)  # noqa: TRY400 (its traceback is Celery's)
            else:
                consumer.on_invalid_task(None, message, InvalidTaskError(why))

    return take


def _why_refused(message: Any) -> str | None:
    headers = message.headers
    if not isinstance(headers, dict) or "task" not in headers:
        return None
    return why_refused(headers, message.properties) or _why_nothing_follows(message)


def _why_nothing_follows(message: Any) -> str | None:
    try:
        body = message.payload  # decoded once: Celery reads the same
    except Exception:  # noqa: BLE001 (Celery answers what cannot be decoded)
        return None
    embed = body[-1] if isinstance(body, (list, tuple)) and body else None
    return signatures.why_refused(embed) if isinstance(embed, dict) else None
