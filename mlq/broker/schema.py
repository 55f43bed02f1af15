"""Schema: the version of mlq's keys and messages on a server, which versions of mlq may use it, and migrations.

The recorded version is a whole number, or `1>2` while a migration runs. Most changes only add keys and fields, need no
new version, and run beside older versions of mlq. A change that an older version would misread is a `Migration`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from mlq.errors import MigrationTaken, OtherSchema, UsageError, WorkersRun
from mlq.protocol import keys

if TYPE_CHECKING:
    from redis import Redis

    from mlq.broker.connection import Address


@dataclass(frozen=True)
class Migration:
    """The way from one version to the next one, and back.

    Both directions must be repeatable: after an interruption they run again, on keys that are changed in part. `what`
    completes the sentence "this migration …".
    """

    what: str
    up: Callable[[Redis], None]
    down: Callable[[Redis], None]


MIGRATIONS: Final[Sequence[Migration]] = ()
"""From version 1 to 2, from 2 to 3, and so on. There is one version so far."""


def enter(redis: Redis, address: Address) -> None:
    """Record the newest version where none is recorded. Raises OtherSchema, before anything else is touched.

    A server whose memory is full takes no new key: then there is nothing of ours to protect, or it is written already.
    """
    from redis.exceptions import OutOfMemoryError

    if redis.get(keys.SCHEMA) is None:
        try:
            redis.set(keys.SCHEMA, keys.SCHEMA_VERSION, nx=True)  # the second of two callers reads the first one's
        except OutOfMemoryError:
            return
    demand(redis, address)


def demand(redis: Redis, address: Address) -> None:
    """Make sure that this version of mlq can use the keys of a server. Raises OtherSchema.

    A user of the server who may not read the key may not touch the other keys of mlq either.
    """
    from redis.exceptions import NoPermissionError

    try:
        found = cast("bytes | None", redis.get(keys.SCHEMA))
    except NoPermissionError:
        return
    if found is None:
        return
    ends = _ends(found)
    if ends is None or ends[0] != ends[1] or not keys.OLDEST_SCHEMA <= ends[0] <= keys.SCHEMA_VERSION:
        raise _other(found, address)


def migrate(
    redis: Redis,
    address: Address,
    to: int,
    workers: Callable[[], Sequence[str]],
    migrations: Sequence[Migration] = MIGRATIONS,
) -> Iterator[str]:
    """Lead the keys of a server to a version; yield what is done, migration by migration.

    `workers` names those that are alive: none may be, since they would write what is being changed.
    Raises UsageError for a version that this mlq does not know, OtherSchema for keys newer than it knows, WorkersRun,
    MigrationTaken when another process changes the version at the same time.
    """
    newest = 1 + len(migrations)
    if not 1 <= to <= newest:
        raise UsageError(
            what=f"this mlq knows versions 1 to {newest} of the keys, not {to}",
            fix="`python -m mlq.migrate --to N` takes one of them",
        )
    found = cast("bytes | None", redis.get(keys.SCHEMA)) or str(newest).encode()
    ends = _ends(found)
    if ends is None or ends[1] > newest:
        raise _other(found, address)
    low, high = ends
    while (low, high) != (to, to):
        if low == high:
            low, high = (low, low + 1) if to > low else (low - 1, low)
        migration = migrations[low - 1]
        found = _swap(redis, found, f"{low}>{high}", unless=workers)
        goes_up = to >= high
        (migration.up if goes_up else migration.down)(redis)
        low = high = high if goes_up else low
        found = _swap(redis, found, str(low))
        yield f"version {low}: {migration.what}" + ("" if goes_up else " (undone)")


def _swap(redis: Redis, before: bytes, after: str, unless: Callable[[], Sequence[str]] = tuple) -> bytes:
    """Record a version in place of the one that was read.

    The record comes before the look at the workers: a supervisor that starts now is refused, or is seen.
    """
    from redis.exceptions import WatchError

    with redis.pipeline() as pipe:
        try:
            pipe.watch(keys.SCHEMA)  # type: ignore[no-untyped-call]
            if cast("bytes | None", pipe.get(keys.SCHEMA)) not in {before, None}:
                raise MigrationTaken
            pipe.multi()
            pipe.set(keys.SCHEMA, after)
            pipe.execute()
        except WatchError:
            raise MigrationTaken from None
    names = unless()
    if names:
        redis.set(keys.SCHEMA, before)
        raise WorkersRun(names=", ".join(names))
    return after.encode()


def _ends(found: bytes) -> tuple[int, int] | None:
    """Read a recorded version: twice the same, or the two between which a migration has not ended."""
    read = re.fullmatch(rb"(\d+)(?:>(\d+))?", found)
    return read and (int(read[1]), int(read[2] or read[1]))


def _other(found: bytes, address: Address) -> OtherSchema:
    theirs, ours = found.decode(errors="replace"), keys.SCHEMA_VERSION
    ends = _ends(found)
    if ends is not None and ends[0] != ends[1]:
        theirs, fix = f"{theirs} (a migration that has not ended)", "wait for it, or run `python -m mlq.migrate` again"
    elif ends is not None and ends[0] < ours:
        fix = f"end its workers with their own mlq, then `python -m mlq.migrate --to {ours}`"
    else:
        fix = (
            "run the version of mlq that runs there, or set MLQ_BROKER_URL to another database: redis://host:6379/1; "
            f"`python -m mlq.migrate --to {ours}` of that version leads the keys back"
        )
    return OtherSchema(url=address.shown, theirs=theirs, ours=ours, fix=fix)
