"""What Celery's own consumer refuses, where the engine does not read first: prefork pools, and RabbitMQ.

Stock Celery writes a line in its log, and the client waits for a result that never comes.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from celery.app.task import Context
from celery.exceptions import InvalidTaskError
from celery.worker.consumer.consumer import Consumer
from celery.worker.request import Request

from mlq.engine.celery import unreadable
from mlq.protocol.names import JOB_HEADER, TOKEN_HEADER

log = logging.getLogger("mlq.refusal")


class Rejected(Exception):
    """What a client sees of a message that no task was run for: the same as from the engine."""

    __module__ = "celery.exceptions"


def install() -> None:
    """Let consumers of this process answer what they refuse."""
    stock: Any = Consumer

    def answer_undecodable(consumer: Any, message: Any, exc: Exception) -> None:
        # The error quotes what it could not read, so it is neither logged nor stored.
        headers = message.headers if isinstance(message.headers, dict) else {}
        why = headers.get(unreadable.REASON_HEADER) or type(exc).__name__
        log.error("a message cannot be decoded, and is discarded: %s", why)
        _answer(consumer, message, f"malformed: the message cannot be decoded: {why}")
        message.ack()

    def answer_invalid(consumer: Any, body: Any, message: Any, exc: Exception) -> None:
        del body  # stock's log line measures it, and fails for a message without one, which is then kept for good
        log.error("a task message is invalid, and discarded: %s", exc)
        _answer(consumer, message, f"malformed: {exc}")
        message.reject_log_error(log, consumer.connection_errors)

    unreadable.install()
    stock.on_decode_error = answer_undecodable
    stock.on_invalid_task = answer_invalid
    _refuse_unreadable()


def _refuse_unreadable() -> None:
    """Let Celery refuse a message of which it can make no request: its worker would end, and meet it again."""
    stock: Any = Request
    make = stock.__init__

    @functools.wraps(make)
    def make_or_refuse(request: Any, *args: Any, **kwargs: Any) -> None:
        try:
            make(request, *args, **kwargs)
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as exc:
            message = f"no task can be made of the message: {type(exc).__name__}"
            raise InvalidTaskError(message) from exc

    stock.__init__ = make_or_refuse


def _answer(consumer: Any, message: Any, why: str) -> None:
    """Store a FAILURE where the id can be read. Before the message ends: a death in between answers it twice."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    task_id = headers.get("id") or message.properties.get("correlation_id")
    if not isinstance(task_id, str) or not task_id or headers.get("ignore_result"):
        return
    request = Context({name: headers.get(name) for name in (JOB_HEADER, TOKEN_HEADER)}, id=task_id)
    try:
        consumer.app.backend.store_result(task_id, Rejected(why), "FAILURE", request=request)
    except ValueError as exc:  # an id that is no UTF-8
        log.warning("the client of a refused message is not told: %s", type(exc).__name__)
