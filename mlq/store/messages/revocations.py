"""Revocations: ids of revoked tasks, for workers and hosts that did not receive the control message."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, cast

from mlq.broker import script
from mlq.ipc.shared_pages import MOST_REVOKED
from mlq.protocol import keys
from mlq.protocol.names import is_task_id

if TYPE_CHECKING:
    from redis import Redis

_AT_ONCE: Final = 1000
"""Arguments of one command: Lua's stack holds some thousands."""

REMEMBERED_S: Final = 3 * 3600
"""As long as Celery's own workers remember revoked tasks."""


def add(redis: Redis, task_ids: Collection[str]) -> None:
    """Record revoked tasks, even while memory is full. Every supervisor that receives the message may do so."""
    if not task_ids:
        return
    now_s = redis.time()[0]
    pairs = [word for task_id in list(task_ids)[-MOST_REVOKED:] for word in (now_s, task_id)]
    script.run_commands(
        redis,
        *(["ZADD", keys.REVOKED, *pairs[i : i + _AT_ONCE]] for i in range(0, len(pairs), _AT_ONCE)),
        ["ZREMRANGEBYSCORE", keys.REVOKED, "-inf", now_s - REMEMBERED_S],
        ["ZREMRANGEBYRANK", keys.REVOKED, 0, -MOST_REVOKED - 1],
    )


def read(redis: Redis) -> list[str]:
    """Return the latest revoked task ids, the earliest first. Other clients may write to the key: skip invalid ids."""
    found = cast("list[bytes]", redis.zrange(keys.REVOKED, -MOST_REVOKED, -1))
    return [task_id for i in found if is_task_id(task_id := i.decode(errors="replace"))]
