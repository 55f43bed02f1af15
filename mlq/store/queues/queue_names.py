"""Queue names: the queues that are known, and the lists on a broker that look like queues."""

from __future__ import annotations

import difflib
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from mlq.broker.script import Script
from mlq.protocol import keys
from mlq.protocol.keys import queue_of
from mlq.store.workers import heartbeats

if TYPE_CHECKING:
    from redis import Redis

    from mlq.settings.config import Settings
    from mlq.store.workers.heartbeats import Heartbeat

KEPT_MS: Final = 30 * 24 * 3600 * 1000
"""Milliseconds to keep a name after its last use: 30 days, as long as a job."""

MOST: Final = 10_000
"""Names to keep at most; the least recently used ones are removed first."""

_LARGEST_BYTES: Final = 256 * 1024
_MOST_BYTES: Final = 8 * 2**20

_SCANNED_AT_ONCE: Final = 1000
_SCAN_S: Final = 10.0
"""Seconds after which a scan of the broker's keys ends; each step blocks the server for about a millisecond."""

_NOT_QUEUES: Final = ("mlq:", "_kombu.", "celery-task-meta-", "unacked")

_note: Final = Script("queues/note_queues")
_heads: Final = Script("queues/heads")


def _run_note(store: Redis, *, kept_ms: int, most: int, names: Collection[str]) -> None:
    _note(store, [keys.QUEUES], [kept_ms, most, *names])


def _run_heads(
    redis: Redis, lists: Sequence[str], *, count: int, largest_bytes: int, most_bytes: int
) -> list[list[bytes]]:
    return list(_heads(redis, lists, [count, largest_bytes, most_bytes]))


def note(store: Redis, names: Collection[str]) -> None:
    """Record that queues are in use, even while memory is full."""
    if names:
        _run_note(store, kept_ms=KEPT_MS, most=MOST, names=names)


def forget(store: Redis, name: str) -> None:
    """Remove a name. A worker that serves the queue, or a job that is sent to it, records it again."""
    store.zrem(keys.QUEUES, name)


def noted(store: Redis) -> list[str]:
    """Return the recorded names in alphabetical order."""
    return sorted(name.decode(errors="replace") for name in cast("list[bytes]", store.zrange(keys.QUEUES, 0, -1)))


def known(settings: Settings, store: Redis, workers: Iterable[Heartbeat] | None = None) -> list[str]:
    """Return all known queues: those of the configuration first, then those of live workers and recorded ones."""
    live = heartbeats.read(store) if workers is None else workers
    served = sorted({queue for worker in live for queue in worker.queues})
    return list(dict.fromkeys((*settings.known_queues, *served, *noted(store))))


def hint(name: str, names: Sequence[str]) -> str:
    """Return a hint with the known queue of the most similar name, or with the known queues."""
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {nearest[0]!r}?" if nearest else f"known queues are {', '.join(names[:20])};"


def heads(redis: Redis, lists: Sequence[str], count: int) -> list[list[bytes]]:
    """Return the oldest messages of each list, up to `count`, without removing them.

    Messages of more than 256 KiB are left out, and reading stops after about 8 MiB.
    """
    found = _run_heads(redis, lists, count=count, largest_bytes=_LARGEST_BYTES, most_bytes=_MOST_BYTES)
    return [[raw for raw in messages if raw] for messages in found]


@dataclass(frozen=True)
class Scan:
    """Queues that were found among a broker's keys."""

    names: list[str]
    complete: bool
    """False if the scan ended before it had read all keys."""


def scan(redis: Redis, seconds: float = _SCAN_S) -> Scan:
    """Find the lists on a broker whose oldest element is a message in kombu's form."""
    found: set[str] = set()
    cursor, until = 0, time.monotonic() + seconds
    while True:
        cursor, page = cast("tuple[int, list[bytes]]", redis.scan(cursor, count=_SCANNED_AT_ONCE, _type="list"))
        found.update(_queues_among(redis, page))
        if not cursor or len(found) >= MOST or time.monotonic() > until:
            return Scan(sorted(found), complete=not cursor)


def _queues_among(redis: Redis, page: Sequence[bytes]) -> Iterator[str]:
    lists = [key.decode() for key in page if _is_text(key)]
    lists = [key for key in lists if not key.startswith(_NOT_QUEUES) and not key.endswith(".pidbox")]
    if not lists:
        return
    for key, messages in zip(lists, heads(redis, lists, 1), strict=True):
        if messages and _is_message(messages[0]):
            yield queue_of(key)


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_message(raw: bytes) -> bool:
    try:
        message: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return isinstance(message, dict) and {"body", "headers", "properties"} <= message.keys()
