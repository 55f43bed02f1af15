"""Log tails: the last lines of each worker's log, in Redis, where other hosts can read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

import orjson

from mlq.protocol import keys

if TYPE_CHECKING:
    from redis import Redis

KEPT_S: Final = 7 * 24 * 3600
"""Seconds to keep them after the last line, so that on Monday a worker's death on Friday can be explained."""

_LONGEST: Final = 300


def write(redis: Redis, host: str, name: str, lines: Sequence[str]) -> None:
    """Replace the last lines of a worker, including those of earlier processes in the same slot."""
    redis.set(keys.last_lines(host, name), orjson.dumps([line[:_LONGEST] for line in lines]), ex=KEPT_S)


def read(redis: Redis, host: str, name: str) -> list[str]:
    """Return the last lines of a worker; empty if there are none. Values that are not text are left out."""
    found = cast("bytes | None", redis.get(keys.last_lines(host, name)))
    try:
        lines = orjson.loads(found or b"[]")
    except orjson.JSONDecodeError:
        return []
    return [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
