"""Job results: the stream of a job's results, from which its collector reads and deletes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mlq.broker.script import Script
from mlq.protocol import keys

if TYPE_CHECKING:
    from redis import Redis

    from mlq.protocol.result import Answer

StreamEntry: TypeAlias = tuple[bytes, dict[bytes, bytes]]
"""The id of an entry of a job's stream, and its fields."""

_file: Final = Script("jobs/file")


def _run_file(redis: Redis, *, ends: str, payload: bytes, seconds: int, filed: str) -> None:
    _file(redis, [ends], [payload, seconds, filed])


def file(redis: Redis, answer: Answer) -> None:
    """Store a chunk's result where results and claims are on different servers.

    It is called after the task, and before its claim ends on the broker. If the worker dies in between, the task runs
    again; the first result that was stored stays.
    """
    _run_file(redis, ends=answer.key, payload=answer.payload, seconds=answer.keep_s, filed=answer.filed)


def read(redis: Redis, job_id: str, after: bytes, *, count: int, block_ms: int | None) -> list[StreamEntry]:
    """Return up to `count` entries of a job's stream that follow the entry `after`; wait up to `block_ms` for one."""
    reply: Any = redis.xread({keys.ends(job_id): after}, count=count, block=block_ms)
    if not reply:
        return []
    entries: list[StreamEntry] = next(iter(reply.values()))[0] if isinstance(reply, dict) else reply[0][1]
    return entries


def drop(redis: Redis, job_id: str, entries: Iterable[bytes]) -> None:
    """Delete entries of a job's stream."""
    redis.xdel(keys.ends(job_id), *entries)
