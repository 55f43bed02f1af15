"""Schema: the version of mlq's keys and messages on a server, which versions of mlq may use it, and migrations.

The recorded version is a whole number, or `1>2` while a migration runs. Most changes only add keys and fields, need no
new version, and run beside older versions of mlq. A change that an older version would misread is a `Migration`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from mlq.broker.errors import MigrationTaken, OtherSchema, WorkersRun
from mlq.errors import UsageError
from mlq.protocol import keys

if TYPE_CHECKING:
    from redis import Redis

    from mlq.broker.connection import Address


@dataclass(frozen=True)
class Migration:
    """The conversion of keys from one version to the next one, and back.

    Both directions must be repeatable: after an interruption they run again, on keys that are partly converted.
    """

    what: str
    """Completes the sentence "this migration …"."""

    up: Callable[[Redis], None]
    """Converts to the newer version."""

    down: Callable[[Redis], None]
    """Converts to the older version."""


MIGRATIONS: Final[Sequence[Migration]] = ()
"""From version 1 to 2, from 2 to 3, and so on. There is one version so far."""


def enter(redis: Redis, address: Address) -> None:
    """Record the newest version if none is recorded. Raises OtherSchema before any other key is changed.

    A server whose memory is full refuses the new key. That does no harm: without a recorded version it holds no keys of
    mlq yet.
    """
    from redis.exceptions import OutOfMemoryError

    if redis.get(keys.SCHEMA) is None:
        try:
            redis.set(keys.SCHEMA, keys.SCHEMA_VERSION, nx=True)  # the second of two callers reads the first one's
        except OutOfMemoryError:
            return
    demand(redis, address)


def demand(redis: Redis, address: Address) -> None:
    """Check that this version of mlq can use the keys of a server. Raises OtherSchema.

    A user who may not read the version may not use mlq's other keys either, so then nothing is checked.
    """
    from redis.exceptions import NoPermissionError

    try:
        recorded = cast("bytes | None", redis.get(keys.SCHEMA))
    except NoPermissionError:
        return
    if recorded is None:
        return
    ends = _ends(recorded)
    if ends is None or ends[0] != ends[1] or not keys.OLDEST_SCHEMA <= ends[0] <= keys.SCHEMA_VERSION:
        raise _other(recorded, address)


def migrate(
    redis: Redis,
    address: Address,
    to: int,
    workers: Callable[[], Sequence[str]],
    migrations: Sequence[Migration] = MIGRATIONS,
) -> Iterator[str]:
    """Convert the keys of a server to a version; yield a sentence after each migration.

    `workers` returns the names of live workers; there must be none, because they would write keys during the migration.
    Raises UsageError for an unknown version, OtherSchema for keys of a newer version, WorkersRun, and MigrationTaken if
    another process changes the version at the same time.
    """
    newest = 1 + len(migrations)
    if not 1 <= to <= newest:
        raise UsageError(
            what=f"this mlq knows versions 1 to {newest} of the keys, not {to}",
            fix="`python -m mlq.migrate --to N` takes one of them",
        )
    recorded = cast("bytes | None", redis.get(keys.SCHEMA)) or str(newest).encode()
    ends = _ends(recorded)
    if ends is None or ends[1] > newest:
        raise _other(recorded, address)
    low, high = ends
    while (low, high) != (to, to):
        if low == high:
            low, high = (low, low + 1) if to > low else (low - 1, low)
        migration = migrations[low - 1]
        recorded = _swap(redis, recorded, f"{low}>{high}", unless=workers)
        goes_up = to >= high
        (migration.up if goes_up else migration.down)(redis)
        low = high = high if goes_up else low
        recorded = _swap(redis, recorded, str(low))
        yield f"version {low}: {migration.what}" + ("" if goes_up else " (undone)")


def _swap(redis: Redis, before: bytes, after: str, unless: Callable[[], Sequence[str]] = tuple) -> bytes:
    """Replace the recorded version, if it is still the one that was read.

    The version is written before the check for workers, so a supervisor that starts now is either refused or found.
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


def _ends(recorded: bytes) -> tuple[int, int] | None:
    """Parse a recorded version: two equal numbers, or the two versions between which a migration has not ended."""
    read = re.fullmatch(rb"(\d+)(?:>(\d+))?", recorded)
    return read and (int(read[1]), int(read[2] or read[1]))


def _other(recorded: bytes, address: Address) -> OtherSchema:
    theirs, ours = recorded.decode(errors="replace"), keys.SCHEMA_VERSION
    ends = _ends(recorded)
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
