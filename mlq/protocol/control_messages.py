"""Control messages: decoding and validation of messages on Celery's control mailbox. No input is trusted.

A client that may publish there reaches every worker and supervisor at once, without a queue in between. So a message
is decoded only after a check of its size, is never decompressed, and only its known fields are passed on.
"""

from __future__ import annotations

import binascii
import fnmatch
import json
import logging
import re
import reprlib
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from mlq.protocol.names import is_task_id
from mlq.security.complaints import Complaints

LARGEST_BYTES: Final = 2**20
"""Largest control message, as the broker delivers it: it holds the ids of 19,000 tasks that are revoked at once.
Decoded, it may briefly take twenty times as much memory in every process that receives it."""

_LONGEST_NAME: Final = 255
"""Characters of a method, a pattern, a ticket, and a reply's routing key."""

_LARGEST_CLOCK: Final = 2**53
"""The worker adopts a sender's logical clock and sends it with every reply and event; Python refuses to write an
integer of more than 4300 digits."""

_REPLIES: Final = "reply.celery.pidbox"
"""The exchange of Celery's reply mailboxes. Workers reply to no other exchange: they may write to any queue, and the
sender of a control message may not."""

log = logging.getLogger("mlq.mailbox")


class Refused(ValueError):
    """A control message that is refused; the text is the reason, with short quotations only."""


complaints: Final = Complaints(log, "a control message is refused", "refused_control")
"""Log lines about refused control messages, limited in number for the whole process."""


def screen(channel: Any) -> None:
    """Make a kombu channel decode control messages only; kombu sees a refused message as a decoding error."""
    channel.Message = _message_class()


@cache
def _message_class() -> type:
    from kombu.message import Message

    class ControlMessage(Message):
        """A message whose body is decoded here, so kombu neither decompresses nor decodes it."""

        def __init__(self, payload: Any, channel: Any = None, **_: Any) -> None:
            self._said: dict[str, Any] = {}
            clock, why = 0, None
            try:
                self._said, clock = read(payload)
            except Refused as exc:
                why = exc
            headers: Any = {"clock": clock}
            super().__init__(body="", channel=channel, delivery_tag="", headers=headers)
            self.errors: Any = [(Refused, why, None)] if why is not None else []

        def decode(self) -> Any:
            return self._said

    return ControlMessage


def read(payload: Any) -> tuple[dict[str, Any], int]:
    """Decode a message from one of kombu's transports; return its fields and its sender's clock. Raises Refused."""
    body, headers, content_type = _parts(payload)
    if len(body) > LARGEST_BYTES:
        raise Refused(f"it has {len(body):,} bytes, the limit is {LARGEST_BYTES:,}")
    if headers.get("compression"):
        raise Refused("it is compressed, and control messages are never decompressed")
    if content_type != "application/json":
        raise Refused(f"its content type is {reprlib.repr(content_type)}, not application/json")
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Refused(f"it is not JSON: {type(exc).__name__}") from None
    if not isinstance(said, dict):
        raise Refused("it is not a JSON object")
    clock = headers.get("clock")
    is_clock = isinstance(clock, int) and not isinstance(clock, bool) and 0 <= clock < _LARGEST_CLOCK
    return _fields(said), int(clock or 0) if is_clock else 0


def _parts(payload: Any) -> tuple[bytes, Mapping[str, Any], Any]:
    """Return body, headers and content type of a message, in kombu's form (as on Redis) or as an AMQP message."""
    if not isinstance(payload, dict):
        properties = getattr(payload, "properties", None) or {}
        body = getattr(payload, "body", None)
        return _octets(body), _table(properties.get("application_headers")), properties.get("content_type")
    properties = _table(payload.get("properties"))
    body, encoding = payload.get("body"), properties.get("body_encoding")
    if encoding not in ("base64", None) or not isinstance(body, str):
        raise Refused("its body is not a text, or has an unknown encoding")
    try:
        content = binascii.a2b_base64(body) if encoding else body.encode()
    except ValueError:  # not base64, or half of a surrogate pair
        raise Refused("its body cannot be decoded") from None
    return content, _table(payload.get("headers")), payload.get("content-type")


def _octets(body: Any) -> bytes:
    if isinstance(body, str):
        return body.encode(errors="replace")
    return bytes(body) if isinstance(body, (bytes, bytearray, memoryview)) else b""


def _table(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused("its headers or properties are not an object")
    return value


def _fields(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that kombu's mailbox reads, each checked for the type that kombu expects."""
    method, arguments = said.get("method"), said.get("arguments")
    destination, pattern, matcher = said.get("destination"), said.get("pattern"), said.get("matcher")
    if not _is_name(method):
        raise Refused("its method is not a text of 1 to 255 characters")
    if not isinstance(arguments, dict | None):
        raise Refused("its arguments are not an object")
    if not isinstance(destination, list | None):
        raise Refused("its destination is not a list")
    if pattern and not _is_name(pattern):
        raise Refused("its pattern is not a text of 1 to 255 characters")
    if pattern and matcher not in ("glob", None, ""):
        raise Refused(
            "its matcher is not glob: workers run no regular expression from a client, because one may run for hours"
        )
    return {
        "method": method,
        "arguments": arguments or {},
        "destination": destination,
        "pattern": pattern,
        "matcher": matcher,
        **_reply(said.get("reply_to"), said.get("ticket")),
    }


def _reply(to: Any, ticket: Any) -> dict[str, Any]:
    if not to:
        return {}
    if not isinstance(to, dict) or to.get("exchange") != _REPLIES or not _is_name(to.get("routing_key")):
        raise Refused("its reply is not addressed to a reply mailbox of Celery")
    if ticket is not None and not _is_name(ticket):
        raise Refused("its ticket is not a text of 1 to 255 characters")
    return {"reply_to": {"exchange": _REPLIES, "routing_key": to["routing_key"]}, "ticket": ticket}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()


def is_addressed(hostname: str, body: Mapping[str, Any]) -> bool:
    """Return True if a control message is addressed to this worker, by the rules of kombu's mailbox.

    It does not call fnmatch.fnmatch, whose cache would keep the last 32,768 patterns of clients in memory.
    """
    destination, pattern, matcher = body.get("destination"), body.get("pattern"), body.get("matcher")
    if destination:
        return hostname in destination
    if pattern and matcher:
        return re.match(fnmatch.translate(str(pattern)), hostname) is not None
    return True


def task_ids(given: Any) -> list[str]:
    """Return the valid task ids in the argument of a revoke; other values cannot be the id of a task."""
    ids = list(given) if isinstance(given, (list, tuple)) else [given]
    return [i for i in ids if is_task_id(i)]
