"""Filed ends: how a chunk ended, written to the stream of its job where results are elsewhere than claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlq.broker.script import Script

if TYPE_CHECKING:
    from redis import Redis

    from mlq.protocol.result import Answer

_file: Final = Script("jobs/file")


def file(redis: Redis, answer: Answer) -> None:
    """File an end by itself, where results are on another server than claims: after the task, before its claim ends.

    A death in between runs the task again; the first end that was filed stands.
    """
    _file(redis, [answer.key], [answer.payload, answer.keep_s, answer.filed])
