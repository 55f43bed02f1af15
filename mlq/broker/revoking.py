"""Revoking: what Celery's clients revoked, for workers and hosts that did not hear it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, cast

from mlq import keys
from mlq.notices import MOST_REVOKED

if TYPE_CHECKING:
    from redis import Redis

REMEMBERED_S: Final = 3 * 3600
"""As long as Celery's own workers remember."""


def add(redis: Redis, task_ids: Collection[str]) -> None:
    """Remember revoked tasks; any number of supervisors that hear of them do so."""
    if not task_ids:
        return
    now_s = redis.time()[0]
    with redis.pipeline(transaction=False) as pipe:
        pipe.zadd(keys.REVOKED, dict.fromkeys(task_ids, now_s))
        pipe.zremrangebyscore(keys.REVOKED, "-inf", now_s - REMEMBERED_S)
        pipe.zremrangebyrank(keys.REVOKED, 0, -MOST_REVOKED - 1)
        pipe.execute()


def read(redis: Redis) -> list[str]:
    """Read them all, the earliest first."""
    return [i.decode() for i in cast("list[bytes]", redis.zrange(keys.REVOKED, 0, -1))]
