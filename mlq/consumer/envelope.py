"""Envelope: what a claimed message says, or why it cannot be one. Pure; nothing here trusts its input."""

from __future__ import annotations

import binascii
import json
import re
import reprlib
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

import orjson

from mlq.broker import filing
from mlq.broker.claim import Claim
from mlq.broker.filing import Place

LARGEST_BYTES: Final = 32 * 2**20
"""A larger message goes to the dead letters unread: decoding it would stop the worker for seconds."""

_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
"""A task id becomes part of a key, a log line and a table: nothing else may be in it."""

_JSON: Final = "application/json"
_LIMITS: Final = 2
_LONGEST_LIMIT_S: Final = 1e9
_PARTS: Final = 3
"""A body of Celery's protocol 2: positional arguments, keyword arguments, what follows."""


@dataclass(frozen=True)
class Malformed:
    """A message that no task can be run for. `task_id` is there if its client can be told."""

    claim: Claim
    reason: str
    why: str
    task_id: str | None = None


@dataclass(frozen=True)
class Message:
    """A message of Celery's protocol 2, decoded. `payload` is kombu's form of it, headers and all."""

    claim: Claim
    payload: dict[str, Any]
    task: str
    task_id: str
    args: list[Any]
    kwargs: dict[str, Any]
    embed: dict[str, Any]
    place: Place | None = None

    @property
    def headers(self) -> dict[str, Any]:
        """What the sender said of the task."""
        headers: dict[str, Any] = self.payload["headers"]
        return headers

    @property
    def eta(self) -> datetime | None:
        """When it may run at the earliest, with its time zone."""
        eta = self.headers.get("eta")
        return _moment(eta) if eta else None


class _Refused(Exception):
    """Internal: the sentence for a Malformed."""


def decode(claim: Claim) -> Message | Malformed:
    """Decode a message as far as the worker needs it, and check every part that something later relies on."""
    if len(claim.raw) > LARGEST_BYTES:
        size = f"{len(claim.raw):,} bytes, the limit is {LARGEST_BYTES:,}"
        return Malformed(claim, "too-large", size)
    task_id = None
    try:
        payload = _envelope(claim.raw)
        headers = payload["headers"]
        task_id = _task_id(headers)
        _properties(payload)
        args, kwargs, embed = _body(payload)
        _numbers(headers)
        _compression(headers)
        message = Message(claim, payload, _task(headers), task_id, args, kwargs, embed, _place(headers))
        message.eta  # noqa: B018 (raises if it is no time)
    except _Refused as exc:
        return Malformed(claim, "malformed", str(exc), task_id)
    return message


def names_of(raw: bytes) -> tuple[str | None, str | None]:
    """Read no more than a message's task and its id; None for what cannot be read."""
    try:
        headers = _envelope(raw)["headers"]
        return _task(headers), _task_id(headers)
    except _Refused:
        return None, task_id_of(raw)


def task_id_of(raw: bytes) -> str | None:
    """Read no more than a message's task id; None where it has none that can be answered."""
    try:
        return _task_id(_envelope(raw)["headers"])
    except _Refused:
        return None


def place_in(raw: bytes) -> Place | None:
    """Read no more than the job to which a message's end belongs; None where it names none."""
    if len(raw) > LARGEST_BYTES:
        return None
    try:
        return _place(_envelope(raw)["headers"])
    except _Refused:
        return None


def _envelope(raw: bytes) -> dict[str, Any]:
    try:
        payload = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:  # not UTF-8, truncated and nested too deeply end here, too
        raise _Refused(f"not JSON: {exc.msg}") from None
    if not isinstance(payload, dict):
        raise _Refused(f"the message is {_kind(payload)}, not an object")
    if not isinstance(payload.get("headers"), dict):
        raise _Refused(f"headers are {_kind(payload.get('headers'))}, not an object")
    return payload


def _task_id(headers: dict[str, Any]) -> str:
    task_id = headers.get("id")
    if not isinstance(task_id, str) or not _ID.match(task_id):
        raise _Refused("the id is not 1 to 128 letters, digits or ._:-")
    return task_id


def _place(headers: dict[str, Any]) -> Place | None:
    try:
        return filing.place_of(headers)
    except ValueError as exc:
        raise _Refused(str(exc)) from None


def _compression(headers: dict[str, Any]) -> None:
    if headers.get("compression") is not None:
        raise _Refused(f"the body is compressed ({_shown(headers['compression'])}); send without task_compression")


def _task(headers: dict[str, Any]) -> str:
    task = headers.get("task")
    if not isinstance(task, str) or not task:
        raise _Refused(f"the task's name is {_kind(task)}, not a text")
    return task


def _numbers(headers: dict[str, Any]) -> None:
    """Check the headers with which Celery, or we, calculate."""
    retries, limits = headers.get("retries"), headers.get("timelimit")
    if not isinstance(retries, int | None):
        raise _Refused(f"retries is {_kind(retries)}, not a whole number")
    if limits is not None and not (
        isinstance(limits, list)
        and len(limits) == _LIMITS
        and all(n is None or (isinstance(n, int | float) and 0 <= n <= _LONGEST_LIMIT_S) for n in limits)
    ):
        raise _Refused(f"timelimit is {_shown(limits)}, not a pair of seconds")


def _properties(payload: dict[str, Any]) -> None:
    """Check what kombu reads of a message before any task is looked at."""
    properties = payload.get("properties")
    if not isinstance(properties, dict):
        raise _Refused(f"properties are {_kind(properties)}, not an object")
    if not isinstance(properties.get("delivery_info"), dict):
        raise _Refused("properties have no delivery_info")
    if not isinstance(properties.get("delivery_tag"), str):
        raise _Refused("properties have no delivery_tag")
    if payload.get("content-type") != _JSON:
        raise _Refused(f"the content type is {_shown(payload.get('content-type'))}; only {_JSON} is accepted")
    if not isinstance(payload.get("content-encoding"), str | None):
        raise _Refused(f"the content encoding is {_kind(payload['content-encoding'])}, not a text")


def _body(payload: dict[str, Any]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    body, encoding = payload.get("body"), payload["properties"].get("body_encoding")
    if not isinstance(body, str):
        raise _Refused(f"the body is {_kind(body)}, not a text")
    if encoding not in ("base64", None):
        raise _Refused(f"the body's encoding {_shown(encoding)} is unknown")
    try:
        text = binascii.a2b_base64(body) if encoding else body.encode()
    except ValueError as exc:  # binascii.Error is one; what is no ASCII, or half a character, is another
        raise _Refused(f"the body is not base64: {exc}") from None
    try:
        parts = _json(text)
    except (ValueError, RecursionError) as exc:
        raise _Refused(f"the body is not JSON: {exc}") from None
    if not isinstance(parts, list) or len(parts) != _PARTS:
        raise _Refused("the body is not [arguments, keyword arguments, what follows]")
    args, kwargs, embed = parts
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(embed, dict | None):
        raise _Refused("the body's parts are not a list, an object and an object")
    return args, kwargs, embed or {}


def _json(text: bytes) -> Any:
    """Decode a body; what orjson refuses and Celery's own JSON takes, such as NaN, is taken, too."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def _moment(eta: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(eta.replace("Z", "+00:00"))
    except (AttributeError, TypeError, ValueError):
        raise _Refused(f"eta {_shown(eta)} is not a time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _shown(value: Any) -> str:
    """Quote what a message says of itself: it may be a megabyte, and hold anything."""
    return reprlib.repr(value)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false"}.get(type(value), "a number")
