"""Sender liveness: the heartbeat of the process that sends a job; without that process no more of the job is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from mlq.ipc.threads import StoppableThread
from mlq.store.jobs import record

if TYPE_CHECKING:
    from redis import Redis

_EVERY_S: Final = 5.0


class _SenderBeat(StoppableThread):
    """Writes the heartbeat of a job's sender."""

    def __init__(self, store: Redis, job_id: str, token: str) -> None:
        super().__init__("mlq-sender")
        self._store = store
        self._job_id = job_id
        self._token = token

    def beat(self) -> None:
        """Write a heartbeat."""
        with suppress(RedisError, OSError):  # while the server is away, no reader takes the sender for gone, either
            record.beat_sender(self._store, self._job_id, self._token)

    def run(self) -> None:
        """Write a heartbeat at an interval, until the thread is asked to end."""
        while not self._ended.wait(_EVERY_S):
            self.beat()


@contextmanager
def living(store: Redis, job_id: str, token: str) -> Iterator[None]:
    """Let others see, while this runs, that the sender of this token lives.

    It begins before the record names the sender: a reader in between must not find one that gives no sign of life. A
    thread does it: the sender may wait for a pipe, or for a broker that is away, for as long as those take.
    """
    thread = _SenderBeat(store, job_id, token)
    thread.beat()
    thread.start()
    try:
        yield
    finally:
        thread.end(timeout=None)  # a beat after the deletion would create the key again
        with suppress(RedisError, OSError):
            record.forget_sender(store, job_id, token)
