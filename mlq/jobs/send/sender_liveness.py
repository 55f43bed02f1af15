"""Sender liveness: the heartbeat of the process that sends a job; without that process no more of the job is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from mlq.broker import script
from mlq.ipc.stoppable_thread import StoppableThread
from mlq.protocol import keys

if TYPE_CHECKING:
    from redis import Redis

EXPIRES_S: Final = 20
"""Seconds after which a killed sender is known to be gone."""

_EVERY_S: Final = 5.0


class _SenderBeat(StoppableThread):
    """Renews the key of a sender that lives."""

    def __init__(self, store: Redis, key: str) -> None:
        super().__init__("mlq-sender")
        self._store = store
        self._key = key

    def beat(self) -> None:
        """Renew the key once."""
        with suppress(RedisError, OSError):  # while the server is away, no reader takes the sender for gone, either
            script.run_commands(self._store, ["SET", self._key, "1", "EX", EXPIRES_S])

    def run(self) -> None:
        """Renew the key until the end is asked for."""
        while not self._ended.wait(_EVERY_S):
            self.beat()


@contextmanager
def living(store: Redis, job_id: str, token: str) -> Iterator[None]:
    """Let others see, while this runs, that the sender of this token lives.

    It begins before the record names the sender: a reader in between must not find one that gives no sign of life. A
    thread does it: the sender may wait for a pipe, or for a broker that is away, for as long as those take.
    """
    key = keys.sender(job_id, token)
    thread = _SenderBeat(store, key)
    thread.beat()
    thread.start()
    try:
        yield
    finally:
        thread.end(timeout=None)  # a beat after the deletion would create the key again
        with suppress(RedisError, OSError):
            store.delete(key)


def is_gone(store: Redis, job_id: str, sender: str | None, alive: str | None) -> bool:
    """Tell whether a job's sender, as its record names it, has ended; False where it gives no signs of life."""
    return sender is not None and sender == alive and not store.exists(keys.sender(job_id, sender))
