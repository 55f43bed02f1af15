"""Orders: what an operator wants of a worker, on whatever host it runs; its supervisor gets them with a heartbeat."""

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
"""The method of the control message that says that orders wait."""

Word = Literal["drain", "stop", "restart"]

_LONGEST_S: Final = 1e9

_order: Final = Script("workers/order")


@dataclass(frozen=True)
class Order:
    """One order to one incarnation of a worker.

    drain: finish what runs, take no more, and end. stop: the same, but after `seconds` what still runs is given back to
    its queue. restart: as stop, and then start anew. `seconds` None sets no deadline.
    """

    word: Word
    seconds: float | None = None

    def encode(self) -> bytes:
        """Write what is stored."""
        return orjson.dumps({"word": self.word, "seconds": self.seconds})

    @classmethod
    def decode(cls, value: bytes) -> Order:
        """Read what is stored. Raises UnreadableRecord."""
        order = records.read(cls, value)
        if order.seconds is not None and not 0 <= order.seconds <= _LONGEST_S:
            raise records.UnreadableRecord("its 'seconds' are no time to wait")
        return order


def give(redis: Redis, worker_id: str, order: Order) -> bool:
    """Leave an order for a worker, in place of an earlier one; False if nobody beats for it any more."""
    given = _order(redis, [keys.ORDERS, keys.heartbeat(worker_id)], [worker_id, order.encode()])
    return bool(given)


def announce(connection: Connection, hostnames: Iterable[str]) -> None:
    """Let the supervisors of these workers (`name@host`) fetch their orders now, instead of with the next heartbeat.

    What is sent is Celery's own control message for a heartbeat: supervisors of other versions ignore it, and workers
    without one do what it says.
    """
    from kombu.pidbox import Mailbox

    mailbox = Mailbox("celery", type="fanout", connection=connection, accept=["json"], serializer="json")
    mailbox.cast(list(hostnames), ANNOUNCEMENT, {})


def withdraw(redis: Redis, worker_ids: Iterable[str]) -> None:
    """Take orders back of workers that have ended, or never will."""
    ids = list(worker_ids)
    if ids:
        redis.hdel(keys.ORDERS, *ids)
