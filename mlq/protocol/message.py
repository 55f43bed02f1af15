"""Message: a claimed message of Celery's protocol 2, its decoding and its validation. No input is trusted."""

from __future__ import annotations

import binascii
import hashlib
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from mlq.protocol import compression, job_result, json_text
from mlq.protocol.job_result import JobChunkRef
from mlq.protocol.names import LONGEST_ID_BYTES, ROWS_HEADER

LARGEST_BYTES: Final = 32 * 2**20
"""The body of a larger message is not decoded, because decoding it would block the worker for seconds."""

_LARGEST_REST_BYTES: Final = 2**20
"""A message that is larger without its body is not decoded at all."""

_JSON: Final = "application/json"
_UNLIMITED: Final = [None, None]
_LONGEST_LIMIT_S: Final = 1e9
_MOST_RETRIES: Final = 10**6
"""For a growing pause Celery calculates 2 to the power of the retries, which would take hours for a larger number."""

_MOST_ROWS: Final = 10**9
_LARGEST_INDEX: Final = 2**53
"""A member of a group is ordered in a sorted set, whose scores hold integers of 53 bits."""

_LARGEST_PRIORITY: Final = 255
_WHOLE: Final = (
    ("retries", _MOST_RETRIES),
    (ROWS_HEADER, _MOST_ROWS),
    ("group_index", _LARGEST_INDEX),
    ("replaced_task_nesting", _MOST_RETRIES),
)
"""Headers that are integers from 0 to the given maximum."""

_PARTS: Final = 3
"""Parts of a body in Celery's protocol 2: positional arguments, keyword arguments, and what follows the task."""

_LINKS: Final = ("callbacks", "errbacks", "chain")
_CHORD: Final = "chord"
_SIGNATURE_FIELDS: Final = (("task", str), ("args", list), ("kwargs", dict), ("options", dict))
_INNER_SIGNATURES: Final[Mapping[str | None, tuple[str, ...]]] = {
    None: (),
    "group": ("tasks",),
    "chain": ("tasks",),
    "chord": ("header", "body"),
    "xmap": ("task",),
    "xstarmap": ("task",),
    "chunks": ("task",),
}
"""Celery's kinds of signatures, and the keyword arguments in which each holds other signatures."""


@dataclass(frozen=True)
class Claim:
    """One message, recorded for the worker that claimed it."""

    id: str
    """Never used for another message. Only the worker that has it in `mlq:claims:<wid>` may complete the message."""

    queue_key: str
    """The Redis list from which the message came."""

    claimed_at_ms: int
    """By the server's clock, in ms since 1970."""

    raw: bytes
    """The message as its sender wrote it."""

    crashes: int | None = None
    """Crashes that a suspect is blamed for (0: it was one of several claims); None if it is not a suspect."""

    @property
    def is_suspect(self) -> bool:
        """True if a worker crashed while it held the message; then the message runs alone, without prefetching."""
        return self.crashes is not None

    @property
    def digest(self) -> str:
        """The field under which crashes are counted, see parts/crash.lua."""
        return hashlib.sha1(self.raw, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class ClaimLost:
    """The claim is no longer this worker's: it was given back or completed already. The caller's change is void."""


@dataclass(frozen=True)
class Malformed:
    """A message that cannot be run."""

    claim: Claim
    reason: str
    """One of the reasons in docs/dead-letters.md."""

    why: str
    """The reason in a sentence."""

    task_id: str | None = None
    """Id of the task, if a failure can be stored for its client."""

    kind: str = "Rejected"
    """Name of the exception in celery.exceptions that the client gets."""


@dataclass(frozen=True)
class Message:
    """A decoded message of Celery's protocol 2."""

    claim: Claim
    payload: dict[str, Any]
    """The whole message in kombu's form, with headers and properties."""

    task: str
    task_id: str
    args: list[Any]
    kwargs: dict[str, Any]
    embed: dict[str, Any]
    place: JobChunkRef | None = None

    @property
    def headers(self) -> dict[str, Any]:
        """The message headers, in which the sender describes the task."""
        headers: dict[str, Any] = self.payload["headers"]
        return headers

    @property
    def eta(self) -> datetime | None:
        """The earliest time at which the task may run, with a time zone."""
        eta = self.headers.get("eta")
        return _moment(eta) if eta else None


_HOLDERS: Final = frozenset({dict, list})
_TOO_DEEP: Final = f"nested deeper than {json_text.MOST_LEVELS} levels"


class _Refused(Exception):
    """Internal: why a message is Malformed, in a sentence and in a word."""

    def __init__(self, why: str, reason: str = "malformed") -> None:
        super().__init__(why)
        self.reason = reason


def parse_claim(reply: Any) -> Claim:
    """Parse the reply of claim.lua for one message."""
    claim_id, record, crashes = reply
    at_ms, length, rest = record.split(b" ", 2)
    key_ends = int(length)
    return Claim(
        id=claim_id.decode(),
        queue_key=rest[:key_ends].decode(),
        claimed_at_ms=int(at_ms),
        raw=rest[key_ends:],
        crashes=None if crashes < 0 else crashes,
    )


def decode(claim: Claim) -> Message | Malformed:
    """Decode a message as far as the worker needs it, and validate every part on which later code relies."""
    if len(claim.raw) > LARGEST_BYTES:
        size = f"{len(claim.raw):,} bytes, the limit is {LARGEST_BYTES:,}"
        return Malformed(claim, "too-large", size, task_id_of(claim.raw))
    payload: dict[str, Any] = {}
    try:
        payload = _envelope(claim.raw)
        headers = _headers(payload)
        task_id = _task_id(headers)
        _properties(payload)
        if json_text.may_be_deeper(claim.raw):
            _depth(payload)
        args, kwargs, embed = _body(payload)
        _numbers(headers)
        message = Message(claim, payload, _task(headers), task_id, args, kwargs, embed, _place(headers))
        message.eta  # noqa: B018 (raises if it is not a time)
    except _Refused as exc:
        return Malformed(claim, exc.reason, str(exc), _readable_id(payload))
    return message


def names_of(raw: bytes) -> tuple[str | None, str | None]:
    """Read only the task's name and id of a message; None for each that cannot be read."""
    try:
        payload = _readable(raw)
    except _Refused:
        return None, None
    headers = payload.get("headers")
    task = headers.get("task") if isinstance(headers, dict) else None
    if task is None:
        task = _protocol_1(payload).get("task")
    return task if isinstance(task, str) and task else None, _readable_id(payload)


def task_id_of(raw: bytes) -> str | None:
    """Read only the task id of a message; None if no result can be stored for it."""
    return names_of(raw)[1]


def job_chunk_in(raw: bytes) -> JobChunkRef | None:
    """Read only the job and chunk to which a message belongs; None if it names none."""
    try:
        headers = _readable(raw).get("headers")
        return _place(headers) if isinstance(headers, dict) else None
    except _Refused:
        return None


def _envelope(raw: bytes) -> dict[str, Any]:
    try:
        payload = json_text.loads_rounded(raw)  # Delivery.deliver decodes again, exactly, what Celery runs
    except (ValueError, RecursionError) as exc:
        raise _Refused(f"not JSON: {exc}") from None
    if not isinstance(payload, dict):
        raise _Refused(f"the message is {_kind(payload)}, not an object")
    return payload


def _readable(raw: bytes) -> dict[str, Any]:
    """Decode a message of any size; a message that is too large is decoded without its body."""
    if len(raw) <= LARGEST_BYTES:
        return _envelope(raw)
    # A quotation mark inside a JSON string is escaped, so `"body"` with bare marks is a key. Its value ends at the next
    # mark, because kombu writes base64 there, which contains none.
    key = raw.find(b'"body"')
    begin = raw.find(b'"', key + len(b'"body"')) + 1
    end = raw.find(b'"', begin)
    rest = raw[:begin] + raw[end:]
    if key < 0 or begin < 1 or end < 0 or len(rest) > _LARGEST_REST_BYTES:
        raise _Refused("too large to be read")
    return _envelope(rest)


def _readable_id(payload: dict[str, Any]) -> str | None:
    """Find the task id under which a client waits for a refused message; None if no Redis key can be made of it.

    It is in the headers, in a body of protocol 1, or in the properties, where Celery writes it a second time.
    """
    headers, properties = payload.get("headers"), payload.get("properties")
    for place in (headers, _protocol_1(payload), properties):
        name = "id" if place is not properties else "correlation_id"
        found = place.get(name) if isinstance(place, dict) else None
        if isinstance(found, str) and found and json_text.is_utf8(found):
            return found
    return None


def _headers(payload: dict[str, Any]) -> dict[str, Any]:
    headers = payload.get("headers")
    if (not isinstance(headers, dict) or "task" not in headers) and _protocol_1(payload):
        raise _Refused(
            "it is of version 1 of Celery's message protocol, and workers of mlq read version 2: set task_protocol = 2 "
            "in the client, or use one that writes it"
        )
    if not isinstance(headers, dict):
        raise _Refused(f"headers are {_kind(headers)}, not an object")
    return headers


def _protocol_1(payload: dict[str, Any]) -> dict[str, Any]:
    """Read a body of protocol 1, which holds the task and its id; {} if the headers hold them, or neither does."""
    headers = payload.get("headers")
    if isinstance(headers, dict) and ("task" in headers or "id" in headers):
        return {}
    try:
        body = json_text.loads(_content(payload))
    except (_Refused, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) and "task" in body and "id" in body else {}


def _task_id(headers: dict[str, Any]) -> str:
    task_id = headers.get("id")
    if not isinstance(task_id, str) or not task_id:
        raise _Refused(f"the id is {_kind(task_id) if task_id != '' else 'empty'}, not a text of 1 to 512 bytes")
    try:
        size = len(task_id) if task_id.isascii() else len(task_id.encode())
    except UnicodeEncodeError:
        raise _Refused(f"the id {_shown(task_id)} holds half of a surrogate pair, which is no UTF-8") from None
    if size > LONGEST_ID_BYTES:
        raise _Refused(f"the id has {size:,} bytes, the limit is {LONGEST_ID_BYTES}: {_shown(task_id)}")
    return task_id


def _place(headers: dict[str, Any]) -> JobChunkRef | None:
    try:
        return job_result.job_chunk_of(headers)
    except ValueError as exc:
        raise _Refused(str(exc)) from None


def _task(headers: dict[str, Any]) -> str:
    task = headers.get("task")
    if not isinstance(task, str) or not task:
        raise _Refused(f"the task's name is {_kind(task)}, not a text")
    return task


def _numbers(headers: dict[str, Any]) -> None:
    """Validate the headers that Celery or mlq uses in calculations."""
    for name, most in _WHOLE:
        value = headers.get(name)
        if value is not None:
            _whole(name, value, most)
    if headers.get("expires"):
        _moment(headers["expires"], "expires")
    limits = headers.get("timelimit")
    if limits is not None and limits != _UNLIMITED and not _is_pair_of_seconds(limits):
        raise _Refused(f"timelimit is {_shown(limits)}, not a pair of seconds")


def _is_pair_of_seconds(limits: Any) -> bool:
    return (
        isinstance(limits, list)
        and len(limits) == len(_UNLIMITED)
        and all(n is None or (isinstance(n, int | float) and 0 <= n <= _LONGEST_LIMIT_S) for n in limits)
    )


def _whole(name: str, value: Any, most: int) -> None:
    if type(value) is not int:  # isinstance would accept True
        raise _Refused(f"{name} is {_kind(value)}, not a whole number")
    if not 0 <= value <= most:
        raise _Refused(f"{name} is {_shown(value)}, not a whole number from 0 to {most:,}")


def why_refused(headers: dict[str, Any], properties: Any) -> str | None:
    """Return why a message that Celery's own transport has decoded cannot be run; None if it may run."""
    try:
        _task(headers)
        _task_id(headers)
        _numbers(headers)
        if headers.get("eta"):
            _moment(headers["eta"])
        _priority(properties if isinstance(properties, dict) else {})
    except _Refused as exc:
        return str(exc)
    return None


def _priority(properties: dict[str, Any]) -> None:
    priority = properties.get("priority")
    if priority is not None:
        _whole("priority", priority, _LARGEST_PRIORITY)


def _properties(payload: dict[str, Any]) -> None:
    """Validate the parts of a message that kombu reads before it looks for a task."""
    properties = payload.get("properties")
    if not isinstance(properties, dict):
        raise _Refused(f"properties are {_kind(properties)}, not an object")
    if not isinstance(properties.get("delivery_info"), dict):
        raise _Refused("properties have no delivery_info")
    if not isinstance(properties.get("delivery_tag"), str):
        raise _Refused("properties have no delivery_tag")
    _priority(properties)
    if payload.get("content-type") != _JSON:
        raise _Refused(f"the content type is {_shown(payload.get('content-type'))}; only {_JSON} is accepted")
    encoding = payload.get("content-encoding")
    if encoding is not None and not isinstance(encoding, str):
        raise _Refused(f"the content encoding is {_kind(payload['content-encoding'])}, not a text")


def _depth(payload: dict[str, Any]) -> None:
    """Check the nesting of headers and properties; the body is a text here. Celery's own headers are barely nested."""
    for part in (payload["headers"], payload["properties"]):
        for value in part.values():
            if value.__class__ in _HOLDERS and value and _is_too_deep(value):
                raise _Refused(f"the headers or properties are {_TOO_DEEP}")


def _is_too_deep(value: Any) -> bool:
    try:
        return json_text.is_deeper(json_text.dumps(value))
    except (TypeError, ValueError, RecursionError):  # deeper than Python's json can write
        return True


def _body(payload: dict[str, Any]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    content = _content(payload)
    if json_text.is_deeper(content):
        raise _Refused(f"the body is {_TOO_DEEP}")
    try:
        parts = json_text.loads(content)
    except (ValueError, RecursionError) as exc:
        raise _Refused(f"the body is not JSON: {exc}") from None
    if not isinstance(parts, list) or len(parts) != _PARTS:
        raise _Refused("the body is not [arguments, keyword arguments, what follows]")
    args, kwargs, embed = parts
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not (embed is None or isinstance(embed, dict)):
        raise _Refused("the body's parts are not a list, an object and an object")
    if embed and (why := why_signatures_refused(embed)):
        raise _Refused(why)
    return args, kwargs, embed or {}


def why_signatures_refused(embed: Mapping[str, Any]) -> str | None:
    """Return which signature in the last part of a body is invalid; None if all are valid.

    Celery builds its signature objects when the task has ended, outside of the code that catches a task's errors: an
    invalid one would crash the worker, and every next worker that claims the message.
    """
    for name in _LINKS:
        links = embed.get(name)
        if links and not (isinstance(links, list) and all(map(_is_signature, links))):
            return f"its {name} are not a list of signatures"
    chord = embed.get(_CHORD)
    return f"its {_CHORD} is not a signature" if chord and not _is_signature(chord) else None


def _is_signature(value: Any) -> bool:
    """Return True if Celery can build a signature from a value, and from each signature inside it."""
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(name), kind) for name, kind in _SIGNATURE_FIELDS)
        and isinstance(value.get("subtask_type"), str | None)
        and value.get("subtask_type") in _INNER_SIGNATURES
        and all(map(_is_signature, _inner_signatures(value)))
    )


def _inner_signatures(signature: Mapping[str, Any]) -> Iterator[Any]:
    for name in _INNER_SIGNATURES[signature.get("subtask_type")]:
        inner = signature["kwargs"].get(name)
        yield from inner if isinstance(inner, list) else (inner,)


def _content(payload: dict[str, Any]) -> bytes:
    """Return the bytes of the body, without its transport encoding and decompressed."""
    body, properties = payload.get("body"), payload.get("properties")
    encoding = properties.get("body_encoding") if isinstance(properties, dict) else None
    if not isinstance(body, str):
        raise _Refused(f"the body is {_kind(body)}, not a text")
    if encoding not in ("base64", None):
        raise _Refused(f"the body's encoding {_shown(encoding)} is unknown")
    try:
        content = binascii.a2b_base64(body) if encoding else body.encode()
    except ValueError as exc:  # binascii.Error, or text that is not ASCII or holds half of a surrogate pair
        raise _Refused(f"the body is not {'base64' if encoding else 'UTF-8'}: {exc}") from None
    headers = payload.get("headers")
    said = headers.get("compression") if isinstance(headers, dict) else None
    return _decompressed(content, said) if said else content


def _decompressed(content: bytes, said: Any) -> bytes:
    method = compression.method_of(said)
    if method is None:
        raise _Refused(
            f"the body is compressed ({_shown(said)}), which is not read here; send without task_compression"
        )
    try:
        return compression.decompress(content, method)
    except compression.TooLargeInside as exc:
        raise _Refused(f"the body is compressed ({method}) and holds {exc}", "too-large") from None
    except ValueError as exc:
        raise _Refused(f"the body is compressed ({method}) and damaged: {exc}") from None


def _moment(said: Any, name: str = "eta") -> datetime:
    """Parse a time; refuse one that this host cannot convert to UTC, such as the first or last day of the calendar."""
    try:
        moment = datetime.fromisoformat(said.replace("Z", "+00:00"))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        moment.astimezone(timezone.utc).timestamp()
    except (AttributeError, OverflowError, TypeError, ValueError):
        raise _Refused(f"{name} {_shown(said)} is not a time") from None
    return moment


def _shown(value: Any) -> str:
    """Return a short quotation of a value in a message, which may be a megabyte of any characters."""
    return reprlib.repr(value)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false"}.get(type(value), "a number")
