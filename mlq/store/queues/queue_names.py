"""Queue names: which queues are known, and which lists of a broker look like queues."""

from __future__ import annotations

import difflib
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from mlq.broker.script import Script
from mlq.protocol import keys
from mlq.protocol.priorities import queue_of
from mlq.store.workers import heartbeats

if TYPE_CHECKING:
    from redis import Redis

    from mlq.settings.config import Settings
    from mlq.store.workers.heartbeats import Heartbeat

KEPT_MS: Final = 30 * 24 * 3600 * 1000
"""A name is kept for 30 days after its last use, as long as a job."""

MOST: Final = 10_000
"""Names that are kept at most; the least recently used ones go first."""

_LARGEST_BYTES: Final = 256 * 1024
_MOST_BYTES: Final = 8 * 2**20

_SCANNED_AT_ONCE: Final = 1000
_SCAN_S: Final = 10.0
"""A scan of the broker's keys ends after this time; each step of it occupies the server for about a millisecond."""

_NOT_QUEUES: Final = ("mlq:", "_kombu.", "celery-task-meta-", "unacked")

_note: Final = Script("queues/note_queues")
_heads: Final = Script("queues/heads")


def note(store: Redis, names: Collection[str]) -> None:
    """Write down that queues are in use. This works where memory is full, too."""
    if names:
        _note(store, [keys.QUEUES], [KEPT_MS, MOST, *names])


def forget(store: Redis, name: str) -> None:
    """Remove a name. A worker that serves the queue, and a job that is sent to it, write it down again."""
    store.zrem(keys.QUEUES, name)


def noted(store: Redis) -> list[str]:
    """Read the names that are written down, in alphabetical order."""
    return sorted(name.decode(errors="replace") for name in cast("list[bytes]", store.zrange(keys.QUEUES, 0, -1)))


def known(settings: Settings, store: Redis, workers: Iterable[Heartbeat] | None = None) -> list[str]:
    """Name the queues that the configuration, a live worker or an earlier use knows, the configured ones first."""
    live = heartbeats.read(store) if workers is None else workers
    served = sorted({queue for worker in live for queue in worker.queues})
    return list(dict.fromkeys((*settings.known_queues, *served, *noted(store))))


def hint(name: str, names: Sequence[str]) -> str:
    """Say which of the known queues was meant, or which there are."""
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {nearest[0]!r}?" if nearest else f"known queues are {', '.join(names[:20])};"


def heads(redis: Redis, lists: Sequence[str], count: int) -> list[list[bytes]]:
    """Look at the oldest messages of each list, up to `count`; those of more than 256 KiB are left out.

    The messages stay where they are. About 8 MiB are looked at in all.
    """
    found = _heads(redis, lists, [count, _LARGEST_BYTES, _MOST_BYTES])
    return [[raw for raw in messages if raw] for messages in found]


@dataclass(frozen=True)
class Scan:
    """Names of queues that were found among a broker's keys; `complete` is False if there was no time for all keys."""

    names: list[str]
    complete: bool


def scan(redis: Redis, seconds: float = _SCAN_S) -> Scan:
    """Look through the keys of a broker for lists whose oldest element is a message as kombu writes one."""
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
