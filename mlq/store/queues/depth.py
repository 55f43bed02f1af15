"""Queue depth: messages that wait, messages in workers' hands and the oldest age. Unknown is None, never 0."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from mlq.broker.refusals import is_denied
from mlq.broker.server_time import server_time
from mlq.protocol import json_text, keys
from mlq.protocol.keys import queue_of
from mlq.protocol.names import SENT_AT_HEADER
from mlq.store.claims.held import by_worker
from mlq.store.workers import heartbeats

if TYPE_CHECKING:
    from kombu import Connection
    from redis import Redis


_NOT_FOUND: Final = "404"
"""AMQP's reply code for a queue that does not exist; kombu's Redis transport writes it as a text."""


@dataclass(frozen=True)
class QueueDepth:
    """The depth of one queue."""

    name: str
    ready: int
    """Messages that wait in the queue."""

    in_flight: int | None
    """Messages in workers' hands."""

    delayed: int | None
    """Messages that wait until they are due."""

    oldest_age_s: float | None
    """Age of the oldest message that waits in the queue."""

    by_priority: Mapping[str, int] | None
    """Messages that wait, by priority step."""

    paused: bool = False


def read(connection: Connection, names: Sequence[str], *, now: float | None = None) -> list[QueueDepth]:
    """Read the depth of each queue with a passive declare.

    On Redis an empty queue does not exist, and kombu raises NOT_FOUND: that is a depth of 0. On other brokers only the
    result of the passive declare is known.
    """
    channel: Any = connection.default_channel  # kombu's Redis channel, which the stubs do not know
    ready = {name: _ready(connection, name) for name in names}
    if connection.transport.driver_type != "redis":
        return [QueueDepth(n, ready[n], None, None, None, None) for n in names]
    in_flight = _held(channel.client, channel.unacked_key)
    delayed = _delayed(channel.client)
    at = server_time(channel.client) if now is None else now
    paused = {name.decode() for name in channel.client.smembers(keys.PAUSED)}
    flying = {name: None if in_flight is None else in_flight[name] for name in names}
    found = [_on_redis(channel, name, ready[name], flying[name], delayed[name], at) for name in names]
    return [replace(depth, paused=depth.name in paused) for depth in found]


def _ready(connection: Connection, name: str) -> int:
    channel: Any = connection.channel()  # a new one, because RabbitMQ closes it if the queue does not exist
    try:
        found = int(channel.queue_declare(name, passive=True).message_count)
    except connection.channel_errors as exc:
        if str(getattr(exc, "reply_code", "")) == _NOT_FOUND:
            return 0
        raise
    channel.close()
    return found


def _held(client: Redis, unacked_key: str) -> Counter[str] | None:
    """Count messages in workers' hands, by queue; None for a user who may not read messages (a submitter)."""
    from redis.exceptions import ResponseError

    try:
        return _in_flight(client, unacked_key) + _claimed(client)
    except ResponseError as exc:
        if is_denied(exc):
            return None
        raise


def _on_redis(channel: Any, name: str, ready: int, in_flight: int | None, delayed: int, now: float) -> QueueDepth:
    """Read a queue's lists, one per priority step; the oldest message of each is last.

    A submitter may count messages but not read them; then the age is unknown.
    """
    from redis.exceptions import NoPermissionError

    steps = {str(p): channel._q_for_pri(name, p) for p in channel.priority_steps}  # noqa: SLF001 (kombu's key scheme)
    with channel.client.pipeline(transaction=False) as pipe:
        for key in steps.values():
            pipe.llen(key)
            pipe.lindex(key, -1)
        answers = pipe.execute(raise_on_error=False)
    heads = [None if isinstance(head, NoPermissionError) else head for head in answers[1::2]]
    failure = next((answer for answer in (*answers[::2], *heads) if isinstance(answer, Exception)), None)
    if failure is not None:
        raise failure
    counts = dict(zip(steps, answers[::2], strict=True))
    return QueueDepth(
        name=name,
        ready=ready,
        in_flight=in_flight,
        delayed=delayed,
        oldest_age_s=_oldest_age(heads, now),
        by_priority={p: n for p, n in counts.items() if n},
    )


def _oldest_age(messages: Iterable[bytes | None], now: float) -> float | None:
    """Return the age of the oldest message with a time stamp; messages of other clients have none."""
    stamps = [s for s in (_waits_since(m) for m in messages if m is not None) if s is not None]
    return max(0.0, now - min(stamps)) if stamps else None


def _waits_since(raw: bytes) -> float | None:
    """Return since when a message has waited: since it was sent, or since its ETA if that is later."""
    try:
        headers = json_text.loads_rounded(raw)["headers"]
        stamp, eta = headers[SENT_AT_HEADER], headers.get("eta")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):  # other clients may write anything
        return None
    try:
        since = float(stamp) if isinstance(stamp, (int, float)) else math.nan
    except OverflowError:  # an integer that is too large for a float
        return None
    return max(since, _timestamp(eta) if isinstance(eta, str) else 0.0) if math.isfinite(since) else None


def _timestamp(iso: str) -> float:
    try:
        at = datetime.fromisoformat(iso)
    except ValueError:
        return 0.0
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()


def _in_flight(client: Redis, unacked_key: str) -> Counter[str]:
    """Count messages that Celery's own workers hold: `unacked` maps a tag to [message, exchange, routing key]."""
    held: Counter[str] = Counter()
    for _, entry in client.hscan_iter(unacked_key, count=100):
        queue = _routing_key(cast("bytes", entry))
        if queue is not None:
            held[queue] += 1
    return held


def _claimed(client: Redis) -> Counter[str]:
    """Count messages that mlq's workers have claimed, by queue."""
    held = by_worker(client, heartbeats.leased(client))
    return Counter(queue_of(key) for claims in held.values() for key in claims.values())


def _delayed(client: Redis) -> Counter[str]:
    """Count delayed messages by queue."""
    return _by_queue(cast("dict[bytes, bytes]", client.hgetall(keys.DELAYED)).items())


def _by_queue(counts: Iterable[tuple[bytes, int | bytes]]) -> Counter[str]:
    """Add up counts per queue key to counts per queue."""
    found: Counter[str] = Counter()
    for key, count in counts:
        found[queue_of(key.decode())] += int(count)
    return found


def _routing_key(entry: bytes) -> str | None:
    """Read the last element of a JSON array without decoding the payload before it."""
    tail = entry[entry.rfind(b'"', 0, entry.rfind(b'"')) :].rstrip(b"] ")
    try:
        name = orjson.loads(tail)
    except orjson.JSONDecodeError:
        return None
    return name if isinstance(name, str) else None
