"""Orders: an operator's orders to workers on any host; a supervisor receives them as the reply to a heartbeat."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import orjson

from mlq.broker.script import Script
from mlq.protocol import keys
from mlq.store import records

if TYPE_CHECKING:
    from kombu import Connection
    from redis import Redis

ANNOUNCEMENT: Final = "heartbeat"
"""The method of the control message that announces orders."""

OrderWord = Literal["drain", "stop", "restart"]

_LONGEST_S: Final = 1e9

_order: Final = Script("workers/order")


def _run_order(redis: Redis, *, worker_id: str, order: bytes) -> bool:
    return bool(_order(redis, [keys.ORDERS, keys.heartbeat(worker_id)], [worker_id, order]))


@dataclass(frozen=True)
class Order:
    """An order to one worker process; the process that replaces it does not get the order."""

    word: OrderWord
    """drain: finish running tasks, claim no more, and exit. stop: the same, with a deadline after which running tasks
    go back to their queue. restart: stop, and then start again."""

    seconds: float | None = None
    """Seconds until the deadline; None sets no deadline."""

    def encode(self) -> bytes:
        """Return the value that is stored in Redis."""
        return orjson.dumps({"word": self.word, "seconds": self.seconds})

    @classmethod
    def decode(cls, value: bytes) -> Order:
        """Parse a value that is stored in Redis. Raises UnreadableRecord."""
        order = records.read(cls, value)
        if order.seconds is not None and not 0 <= order.seconds <= _LONGEST_S:
            raise records.UnreadableRecord("its 'seconds' is not a valid time to wait")
        return order


def give(redis: Redis, worker_id: str, order: Order) -> bool:
    """Record an order for a worker, in place of an earlier one; False if the worker has no heartbeat any more."""
    return _run_order(redis, worker_id=worker_id, order=order.encode())


def announce(connection: Connection, hostnames: Iterable[str]) -> None:
    """Ask the supervisors of these workers (`name@host`) to fetch their orders now, not at the next heartbeat.

    The message is Celery's own control message for a heartbeat: supervisors of older versions ignore it, and workers
    without a supervisor send a heartbeat.
    """
    from kombu.pidbox import Mailbox

    mailbox = Mailbox("celery", type="fanout", connection=connection, accept=["json"], serializer="json")
    mailbox.cast(list(hostnames), ANNOUNCEMENT, {})


def withdraw(redis: Redis, worker_ids: Iterable[str]) -> None:
    """Delete the orders of workers that have ended, and orders that will not be carried out."""
    ids = list(worker_ids)
    if ids:
        redis.hdel(keys.ORDERS, *ids)
