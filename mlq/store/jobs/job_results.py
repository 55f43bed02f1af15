"""Job results: writes a chunk's result to the stream of its job where results and claims are on different servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlq.broker.script import Script

if TYPE_CHECKING:
    from redis import Redis

    from mlq.protocol.result import Answer

_file: Final = Script("jobs/file")


def _run_file(redis: Redis, *, ends: str, payload: bytes, seconds: int, filed: str) -> None:
    _file(redis, [ends], [payload, seconds, filed])


def file(redis: Redis, answer: Answer) -> None:
    """Store a chunk's result on the result server: after the task, and before its claim ends on the broker.

    If the worker dies in between, the task runs again; the first result that was stored stays.
    """
    _run_file(redis, ends=answer.key, payload=answer.payload, seconds=answer.keep_s, filed=answer.filed)
