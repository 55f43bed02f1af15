"""Key types: the Redis type of each of mlq's keys, and how to repair a key that has another type.

Another program, or a person, has written such a key. Redis replies WRONGTYPE then, without the name of the key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from mlq.protocol import keys

if TYPE_CHECKING:
    from redis import Redis

_CODE: Final = "WRONGTYPE"

_TYPES: Final = {
    keys.SCHEMA: "string",
    keys.QUEUES: "zset",
    keys.WORKERS: "set",
    keys.ORDERS: "hash",
    keys.JOBS: "zset",
    keys.CANCELLED: "zset",
    keys.LEASES: "zset",
    keys.REVOKED: "zset",
    keys.CLAIM_SERIAL: "string",
    keys.CRASHES: "hash",
    keys.PAUSED: "set",
    keys.WATCHES: "hash",
    keys.DELAYS: "zset",
    keys.DELAYED: "hash",
    keys.DELAYED_BYTES: "string",
    keys.DEAD: "zset",
    keys.DEAD_BYTES: "string",
    keys.UNANSWERED: "set",
}

_FAMILIES: Final = (
    (keys.heartbeat(""), "string"),
    ("mlq:last-lines:", "string"),
    (keys.claims(""), "hash"),
    (keys.models(""), "hash"),
    (keys.autoscale_leader(""), "string"),
    (keys.autoscale_want(""), "string"),
    (keys.autoscale_members(""), "zset"),
    (keys.bell(()), "list"),
    (keys.dead_letter(""), "hash"),
)
"""Prefixes of keys of which there are many."""

_OF_A_JOB: Final = {"chunks": "hash", "ends": "stream", "ends:done": "string", "ends:tally": "hash"}

_AFTER_REPAIR: Final = {
    keys.PAUSED: "then `mlq queues pause` those that are to be paused",
    keys.CRASHES: "then crashes are counted from 0",
    keys.WATCHES: "it is written anew",
    keys.LEASES: "then restart the workers",
    keys.CLAIM_SERIAL: "it is written anew",
}
"""What follows after an operator has deleted a key, for the error's hint."""

_SCANNED_AT_ONCE: Final = 500
_MOST_SCANNED: Final = 20_000
_MOST_SHOWN: Final = 3
"""Keys that an error names; an error with more of them would be too long."""


@dataclass(frozen=True)
class Misplaced:
    """A key that has another Redis type than mlq expects."""

    key: str
    kind: str
    expected: str

    @property
    def sentence(self) -> str:
        """What is wrong, in a sentence."""
        return f"the key {self.key!r} is a {self.kind}, where mlq keeps a {self.expected}"

    @property
    def repair(self) -> str:
        """How to repair it."""
        after = _AFTER_REPAIR.get(self.key)
        return f"`redis-cli DEL {self.key}` repairs it" + (f"; {after}" if after else "")


def is_wrong_type(exc: BaseException) -> bool:
    """Return True if a command or a script failed on a key of another type."""
    return _CODE in str(exc)


def expected_type(key: str) -> str | None:
    """Return the type of one of mlq's keys; "list" for any other key, which must be a queue."""
    if key in _TYPES:
        return _TYPES[key]
    if key.startswith(keys.job("")):
        rest = key.removeprefix(keys.job("")).partition(":")[2]
        return "string" if rest.startswith("sender:") else _OF_A_JOB.get(rest, None if rest else "hash")
    family = next((kind for begin, kind in _FAMILIES if key.startswith(begin)), None)
    return family if family is not None or key.startswith(keys.PREFIX) else "list"


def describe(redis: Redis, key: str) -> Misplaced | None:
    """Check one key; None if it has the expected type, or does not exist."""
    kind, expected = cast("bytes", redis.type(key)).decode(), expected_type(key)
    return None if expected is None or kind in {expected, "none"} else Misplaced(key, kind, expected)


def find(redis: Redis, queue_keys: tuple[str, ...] = ()) -> list[Misplaced]:
    """Find keys of another type: among mlq's single keys and `queue_keys`, then in a part of mlq's other keys."""
    first = [*_TYPES, *queue_keys]
    misplaced = list(_find_misplaced(redis, first))
    scanned, cursor = 0, 0
    while not misplaced and scanned < _MOST_SCANNED:
        cursor, page = cast(
            "tuple[int, list[bytes]]", redis.scan(cursor, match=f"{keys.PREFIX}*", count=_SCANNED_AT_ONCE)
        )
        misplaced += _find_misplaced(redis, [key.decode(errors="replace") for key in page])
        scanned += _SCANNED_AT_ONCE
        if not cursor:
            break
    return misplaced


def explain(redis: Redis, exc: BaseException, queue_keys: tuple[str, ...] = ()) -> str:
    """Return the text of an error for a log; for a key of another type, with the key and its repair."""
    from redis.exceptions import RedisError

    if not is_wrong_type(exc):
        return str(exc)
    try:
        misplaced = find(redis, queue_keys)
    except (RedisError, OSError):
        return str(exc)
    return "; ".join(f"{m.sentence}; {m.repair}" for m in misplaced[:_MOST_SHOWN]) or str(exc)


def _find_misplaced(redis: Redis, names: list[str]) -> Iterator[Misplaced]:
    with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.type(name)
        kinds = cast("list[bytes]", pipe.execute())
    for name, kind in zip(names, (k.decode() for k in kinds), strict=True):
        expected = expected_type(name)
        if expected is not None and kind not in {expected, "none"}:
            yield Misplaced(name, kind, expected)
