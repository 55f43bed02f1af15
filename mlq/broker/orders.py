"""Orders: what an operator wants of a worker, on whatever host it runs; its supervisor gets them with a heartbeat."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import orjson

from mlq import keys
from mlq.board import known
from mlq.broker.script import Script

if TYPE_CHECKING:
    from redis import Redis

Word = Literal["drain", "stop", "restart"]

_order: Final = Script("order")


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
        """Read what is stored."""
        return known(cls, orjson.loads(value))


def give(redis: Redis, worker_id: str, order: Order) -> bool:
    """Leave an order for a worker, in place of an earlier one; False if nobody beats for it any more."""
    given = _order(redis, [keys.ORDERS, keys.heartbeat(worker_id)], [worker_id, order.encode()])
    return bool(given)


def withdraw(redis: Redis, worker_ids: Iterable[str]) -> None:
    """Take orders back of workers that have ended, or never will."""
    ids = list(worker_ids)
    if ids:
        redis.hdel(keys.ORDERS, *ids)
