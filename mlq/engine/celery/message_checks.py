"""Message checks, before Celery reads a message from its own transport: with RabbitMQ and in prefork pools.

The engine has its own checks. Celery computes with unchecked values of a message, and some of these end the worker, or
one process of its pool after another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery.exceptions import InvalidTaskError

from mlq.protocol.message import why_refused, why_signatures_refused

if TYPE_CHECKING:
    from celery import Celery

    from mlq.engine.time_limits import MessageLimits

log = logging.getLogger("mlq.message_checks")

Take = Callable[[Any], None]


def screen(app: Celery, message_limits: MessageLimits) -> None:
    """Let the worker of this app refuse invalid messages; call this before the worker is created."""
    from celery import bootsteps

    class Screening(bootsteps.Step):
        def __init__(self, consumer: Any, **options: Any) -> None:
            super().__init__(consumer, **options)
            create = consumer.create_task_handler
            consumer.create_task_handler = lambda *args, **kwargs: _screened(
                consumer, create(*args, **kwargs), message_limits
            )

    app.steps["consumer"].add(Screening)


def _screened(consumer: Any, handle: Take, message_limits: MessageLimits) -> Take:
    passing = (*consumer.connection_errors, *consumer.channel_errors, OSError)  # errors of the broker, not of a message

    def take(message: Any) -> None:
        headers = message.headers
        if (why := _why_refused(message)) is not None:
            consumer.on_invalid_task(None, message, InvalidTaskError(why))
            return
        if isinstance(headers, dict) and headers.get("timelimit"):
            headers["timelimit"] = list(message_limits.of(headers["timelimit"]))
        try:
            handle(message)
        except passing:
            raise
        except Exception as exc:  # noqa: BLE001 (Celery may raise anything for such a message)
            why = f"{type(exc).__name__}: {exc}"
            if message.acknowledged:
                log.error(  # noqa: TRY400 (the traceback would show Celery's code only)
                    "Celery cannot end a message: %s", why, extra={"action": "message_failed"}
                )
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
        body = message.payload  # it is decoded once; Celery reads the same object
    except Exception:  # noqa: BLE001 (Celery refuses what cannot be decoded)
        return None
    embed = body[-1] if isinstance(body, (list, tuple)) and body else None
    return why_signatures_refused(embed) if isinstance(embed, dict) else None
