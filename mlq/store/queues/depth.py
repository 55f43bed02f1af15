"""QueueDepth: what waits in each queue, what runs, how old the oldest is. Unknown is None, never 0."""

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
from mlq.protocol import exact_json, keys
from mlq.protocol.names import SENT_AT_HEADER
from mlq.protocol.priorities import queue_of
from mlq.store.claims.held import by_worker

if TYPE_CHECKING:
    from kombu import Connection
    from redis import Redis


_NOT_FOUND: Final = "404"
"""AMQP's reply code for a queue that does not exist; kombu's Redis transport writes it as a text."""


@dataclass(frozen=True)
class QueueDepth:
    """One queue. `ready` waits, `in_flight` is in a worker's hands, `delayed` waits for its time."""

    name: str
    ready: int
    in_flight: int | None
    delayed: int | None
    oldest_age_s: float | None
    by_priority: Mapping[str, int] | None
    paused: bool = False


def read(connection: Connection, names: Sequence[str], *, now: float | None = None) -> list[QueueDepth]:
    """Read the depth of each queue, by passive declare.

    On Redis a queue that is empty does not exist, and kombu then raises NOT_FOUND: that is a depth of 0.
    On other brokers only what a passive declare tells is known.
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
    channel: Any = connection.channel()  # one of its own: RabbitMQ closes a channel that asks for a missing queue
    try:
        found = int(channel.queue_declare(name, passive=True).message_count)
    except connection.channel_errors as exc:
        if str(getattr(exc, "reply_code", "")) == _NOT_FOUND:
            return 0
        raise
    channel.close()
    return found


def _held(client: Redis, unacked_key: str) -> Counter[str] | None:
    """Count what is in workers' hands, by queue; None for a user who may not read messages, a submitter."""
    from redis.exceptions import ResponseError

    try:
        return _in_flight(client, unacked_key) + _claimed(client)
    except ResponseError as exc:
        if is_denied(exc):
            return None
        raise


def _on_redis(channel: Any, name: str, ready: int, in_flight: int | None, delayed: int, now: float) -> QueueDepth:
    """Look at a queue's lists, one a priority step, oldest message last; a submitter may count messages, not read them.

    Nobody knows their age then.
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
    """Give the age of the oldest message that carries a stamp; other clients' messages carry none."""
    stamps = [s for s in (_waits_since(m) for m in messages if m is not None) if s is not None]
    return max(0.0, now - min(stamps)) if stamps else None


def _waits_since(raw: bytes) -> float | None:
    """Tell since when a message has waited to be run: since it was sent, or since the time that it was sent for."""
    try:
        headers = exact_json.loads_rounded(raw)["headers"]
        stamp, eta = headers[SENT_AT_HEADER], headers.get("eta")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):  # other clients may write anything
        return None
    try:
        since = float(stamp) if isinstance(stamp, (int, float)) else math.nan
    except OverflowError:  # a whole number of any length
        return None
    return max(since, _timestamp(eta) if isinstance(eta, str) else 0.0) if math.isfinite(since) else None


def _timestamp(iso: str) -> float:
    try:
        at = datetime.fromisoformat(iso)
    except ValueError:
        return 0.0
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()


def _in_flight(client: Redis, unacked_key: str) -> Counter[str]:
    """Count what stock transports hold: `unacked` maps a tag to JSON [message, exchange, routing key]."""
    held: Counter[str] = Counter()
    for _, entry in client.hscan_iter(unacked_key, count=100):
        queue = _routing_key(cast("bytes", entry))
        if queue is not None:
            held[queue] += 1
    return held


def _claimed(client: Redis) -> Counter[str]:
    """Count what our own workers hold, by the queue that it came from."""
    workers = cast("list[bytes]", client.zrange(keys.LEASES, 0, -1))
    held = by_worker(client, [wid.decode() for wid in workers])
    return Counter(queue_of(key) for claims in held.values() for key in claims.values())


def _delayed(client: Redis) -> Counter[str]:
    """Count what waits for its time, by the queue that it goes to."""
    return _by_queue(cast("dict[bytes, bytes]", client.hgetall(keys.DELAYED)).items())


def _by_queue(counts: Iterable[tuple[bytes, int | bytes]]) -> Counter[str]:
    """Add up what is counted by queue key."""
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
