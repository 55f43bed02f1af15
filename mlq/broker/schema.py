"""Schema: the version of mlq's keys on a server. Two that write the same keys would lose each other's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mlq import keys
from mlq.broker.connection import Address
from mlq.errors import OtherSchema

if TYPE_CHECKING:
    from redis import Redis


def enter(redis: Redis, address: Address) -> None:
    """Write down our version, if nobody has written one. Raises OtherSchema, before anything else is touched.

    A server whose memory is full takes no new key: then there is nothing of ours to protect, or it is written already.
    """
    found = cast("bytes | None", redis.get(keys.SCHEMA))
    if found is None:
        _write(redis)
        found = cast("bytes | None", redis.get(keys.SCHEMA))
    if found is not None and found != _OURS:
        raise OtherSchema(url=address.shown, theirs=found.decode(errors="replace"), ours=keys.SCHEMA_VERSION)


def _write(redis: Redis) -> None:
    from redis.exceptions import OutOfMemoryError

    try:
        redis.set(keys.SCHEMA, _OURS, nx=True)  # of two that come at once the second reads the first's
    except OutOfMemoryError:
        return


_OURS = str(keys.SCHEMA_VERSION).encode()
