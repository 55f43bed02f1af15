"""Refusal: clients get a FAILURE for messages that Celery's consumer refuses, in prefork pools and with RabbitMQ.

Stock Celery only writes a log line, and the client waits for a result that never comes.

kombu pops a message and then decodes it. If that fails, the exception ends Celery's consumer, and so the worker: each
`{` in a queue ended one worker. If the message is nested too deeply, it cannot be passed to a process of the pool. Then
the worker ends as well, and the message goes back to the queue, so it ends the next worker, too. This module replaces
such a message by one that Celery refuses like any other that it cannot decode.
"""

from __future__ import annotations

import binascii
import functools
import logging
import uuid
from contextvars import ContextVar
from typing import Any, Final

from celery.app.task import Context
from celery.exceptions import InvalidTaskError
from celery.worker.consumer.consumer import Consumer
from celery.worker.request import Request

from mlq.protocol import json_text
from mlq.protocol.names import JOB_HEADER, TOKEN_HEADER

REASON_HEADER: Final = "mlq_unreadable"
"""Header of a replaced message that says what is wrong with the original."""

_CONTENT_TYPE: Final = "application/x-mlq-unreadable"
"""A content type that no consumer accepts."""

_HOLDERS: Final = frozenset({dict, list})

_from_a_queue: ContextVar[bool] = ContextVar("mlq_from_a_queue", default=False)


class _Unreadable(Exception):
    """Internal: says what is wrong with a message."""


def _replace_unreadable() -> None:
    """Replace the functions with which kombu's Redis transport reads messages, in this process."""
    from kombu import serialization
    from kombu.transport import redis as transport
    from kombu.utils import json

    stock: Any = transport
    pop, loads = stock.Channel._brpop_read, stock.loads  # noqa: SLF001 (there is no public name)

    def read_queue(channel: Any, **options: Any) -> Any:
        _from_a_queue.set(True)
        try:
            return pop(channel, **options)
        finally:
            _from_a_queue.set(False)

    def load(text: str) -> Any:
        """Decode a popped message; other JSON, such as unacked messages, is decoded as by kombu."""
        if not _from_a_queue.get():
            return loads(text)
        _from_a_queue.set(False)
        return readable(text)

    def decode(text: Any) -> Any:
        """Decode a body or a result. kombu converts the ValueError to a DecodeError."""
        demand_flat(text if isinstance(text, bytes) else str(text).encode(errors="replace"))
        return json.loads(text)

    stock.Channel._brpop_read = read_queue  # noqa: SLF001 (see above)
    stock.loads = load
    serialization.register("json", json.dumps, decode, content_type="application/json", content_encoding="utf-8")


def demand_flat(text: bytes) -> None:
    """Raise ValueError for JSON that is nested too deeply."""
    if json_text.is_deeper(text):
        message = f"it is nested deeper than {json_text.MOST_LEVELS} levels"
        raise ValueError(message)


def readable(text: str) -> dict[str, Any]:
    """Return a message that kombu can deliver: the one in `text`, or its replacement."""
    found: Any = None
    try:
        # Not json_text: user's tasks read the headers, in which kombu's decoder makes objects such as datetime.
        from kombu.utils.json import loads

        found = loads(text)
        return _checked(found)
    except RecursionError:
        return _replaced(found, f"it is nested deeper than {json_text.MOST_LEVELS} levels")
    except (_Unreadable, ValueError) as exc:
        return _replaced(found, str(exc) if isinstance(exc, _Unreadable) else "it is not JSON")


def _checked(message: Any) -> dict[str, Any]:
    """Return a message that has all parts which kombu reads before Celery. Raises _Unreadable."""
    if not isinstance(message, dict):
        raise _Unreadable("it is not an object")
    properties, headers, body = message.get("properties"), message.get("headers"), message.get("body")
    if not isinstance(properties, dict) or not isinstance(properties.get("delivery_tag"), str):
        raise _Unreadable("its properties have no delivery_tag")
    if not isinstance(properties.get("delivery_info"), dict):
        raise _Unreadable("its properties have no delivery_info")
    if not isinstance(headers, dict | None):
        raise _Unreadable("its headers are not an object")
    if not isinstance(body, str | None):
        raise _Unreadable("its body is not a text")
    if not all(isinstance(message.get(name), str | None) for name in ("content-type", "content-encoding")):
        raise _Unreadable("its content type or encoding is not a text")
    if body and properties.get("body_encoding") == "base64":
        _demand_base64(body)
    for value in (*(headers or {}).values(), *properties.values()):
        if value.__class__ in _HOLDERS and value and _is_too_deep(value):
            raise _Unreadable(f"its headers are nested deeper than {json_text.MOST_LEVELS} levels")
    return message


def _demand_base64(body: str) -> None:
    try:
        binascii.a2b_base64(body)
    except ValueError as exc:
        message = "its body is not base64"
        raise _Unreadable(message) from exc


def _is_too_deep(value: Any) -> bool:
    try:
        return json_text.is_deeper(json_text.dumps(value))
    except (TypeError, ValueError, RecursionError):
        return True


def _replaced(found: Any, why: str) -> dict[str, Any]:
    """Return a message that Celery cannot decode, with the task id, so that its client gets the failure."""
    headers, properties = (
        part if isinstance(part, dict) else {}
        for part in ((found.get("headers"), found.get("properties")) if isinstance(found, dict) else (None, None))
    )
    task_id = headers.get("id") or properties.get("correlation_id")
    known = {"id": task_id} if isinstance(task_id, str) and json_text.is_utf8(task_id) else {}
    return {
        "body": "unreadable",
        "content-type": _CONTENT_TYPE,
        "content-encoding": "utf-8",
        "headers": {**known, REASON_HEADER: why},
        "properties": {
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": ""},
        },
    }


log = logging.getLogger("mlq.refusal")


class Rejected(Exception):
    """The failure that a client gets for a refused message, of the same name as the engine's."""

    __module__ = "celery.exceptions"


def install() -> None:
    """Let the consumers of this process store a FAILURE for each message that they refuse."""
    stock: Any = Consumer

    def answer_undecodable(consumer: Any, message: Any, exc: Exception) -> None:
        # The error quotes the payload, so it is neither logged nor stored.
        headers = message.headers if isinstance(message.headers, dict) else {}
        why = headers.get(REASON_HEADER) or type(exc).__name__
        log.error("a message cannot be decoded, and is discarded: %s", why, extra={"action": "message_discarded"})
        _answer(consumer, message, f"malformed: the message cannot be decoded: {why}")
        message.ack()

    def answer_invalid(consumer: Any, body: Any, message: Any, exc: Exception) -> None:
        del body  # Celery's log line measures it, and fails for a message without one, which then stays unacked
        log.error("a task message is invalid, and is discarded: %s", exc, extra={"action": "message_discarded"})
        _answer(consumer, message, f"malformed: {exc}")
        message.reject_log_error(log, consumer.connection_errors)

    _replace_unreadable()
    stock.on_decode_error = answer_undecodable
    stock.on_invalid_task = answer_invalid
    _refuse_unreadable()


def _refuse_unreadable() -> None:
    """Let Celery refuse a message that it cannot make a Request of; it would end one worker after another."""
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
    """Store a FAILURE if the id can be read, before the message is acknowledged, so that it cannot get lost."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    task_id = headers.get("id") or message.properties.get("correlation_id")
    if not isinstance(task_id, str) or not task_id or headers.get("ignore_result"):
        return
    request = Context({name: headers.get(name) for name in (JOB_HEADER, TOKEN_HEADER)}, id=task_id)
    try:
        consumer.app.backend.store_result(task_id, Rejected(why), "FAILURE", request=request)
    except ValueError as exc:  # the id is not UTF-8
        log.warning(
            "the client of a refused message gets no result: %s",
            type(exc).__name__,
            extra={"action": "refusal_not_stored"},
        )
