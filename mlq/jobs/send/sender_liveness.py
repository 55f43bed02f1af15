"""Sender liveness: the heartbeat of the process that sends a job; without that process no more of the job is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from mlq.store.jobs import record

if TYPE_CHECKING:
    from redis import Redis

_EVERY_S: Final = 5.0


@contextmanager
def living(store: Redis, job_id: str, token: str) -> Iterator[None]:
    """Let others see, while this runs, that the sender of this token lives.

    It begins before the record names the sender: a reader in between must not find one that gives no sign of life. A
    thread does it: the sender may wait for a pipe, or for a broker that is away, for as long as those take.
    """
    ended = threading.Event()

    def beat() -> None:
        with suppress(RedisError, OSError):  # a server that is away tells nobody that the sender has gone, either
            record.beat_sender(store, job_id, token)

    def go_on() -> None:
        while not ended.wait(_EVERY_S):
            beat()

    beat()
    thread = threading.Thread(target=go_on, name="mlq-sender", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(RedisError, OSError):
            record.forget_sender(store, job_id, token)
