"""Last lines: the end of each worker's log, where other hosts can read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

import orjson

from mlq.protocol import keys

if TYPE_CHECKING:
    from redis import Redis

KEPT_S: Final = 7 * 24 * 3600
"""How long they stay after the last of them: somebody will ask on Monday why a worker died on Friday."""

_LONGEST: Final = 300


def write(redis: Redis, host: str, name: str, lines: Sequence[str]) -> None:
    """Replace the last lines of a worker, the process before it in its slot included."""
    redis.set(keys.last_lines(host, name), orjson.dumps([line[:_LONGEST] for line in lines]), ex=KEPT_S)


def read(redis: Redis, host: str, name: str) -> list[str]:
    """Read them; none for a worker that never wrote any, and of another process's words what is text."""
    found = cast("bytes | None", redis.get(keys.last_lines(host, name)))
    try:
        lines = orjson.loads(found or b"[]")
    except orjson.JSONDecodeError:
        return []
    return [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
