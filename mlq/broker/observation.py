"""Look at the queues and at who serves them, over one connection to the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from mlq import keys
from mlq.broker import depth, forced, heartbeats
from mlq.broker.connection import broker_address, connected, demand_redis, redis_client, state_address
from mlq.broker.depth import QueueDepth
from mlq.broker.heartbeats import Heartbeat
from mlq.config import Settings
from mlq.errors import NoSuchQueue
from mlq.wire import BARE_QUEUE

if TYPE_CHECKING:
    from kombu import Connection
    from redis import Redis

Read = Callable[[], tuple[list[QueueDepth], list[Heartbeat]]]


@contextmanager
def queues(settings: Settings, names: Sequence[str]) -> Iterator[Read]:
    """Give a function that reads the depth of the named queues (none: all) and the live workers.

    Raises NoBroker, BrokerUnreachable, BrokerRefused; the function also NoSuchQueue.
    """
    broker, state = broker_address(settings), state_address(settings)
    with ExitStack() as stack:
        connection = stack.enter_context(connected(settings, broker))
        store = connection if state == broker else stack.enter_context(connected(settings, state))

        def read() -> tuple[list[QueueDepth], list[Heartbeat]]:
            return _depths(settings, connection, names), heartbeats.read(redis_client(store))

        yield read


def demand(settings: Settings, name: str) -> None:
    """Make sure that there is such a queue. Raises NoBroker, BrokerUnreachable, BrokerRefused, NoSuchQueue."""
    with connected(settings, broker_address(settings)) as connection:
        _depths(settings, connection, [name])


def pause(settings: Settings, name: str) -> None:
    """Let no worker of mlq's take from a queue; what runs goes on, and what is sent waits.

    Raises NoBroker, NeedsRedis, BrokerUnreachable, BrokerRefused, NoSuchQueue.
    """
    with _on_redis(settings, name) as redis:
        forced.run(redis, ["SADD", keys.PAUSED, name])  # memory may be full, which may be why


def resume(settings: Settings, name: str) -> bool:
    """Let workers take from a queue again; False if it was not paused. Raises as `pause` does."""
    with _on_redis(settings, name) as redis:
        return bool(redis.srem(keys.PAUSED, name))


@contextmanager
def _on_redis(settings: Settings, name: str) -> Iterator[Redis]:
    """Open the broker of a queue that is there, where mlq's workers look at what is paused."""
    address = broker_address(settings)
    demand_redis(address, "a paused queue")
    with connected(settings, address) as connection:
        _depths(settings, connection, [name])
        yield redis_client(connection)


def _depths(settings: Settings, connection: Connection, names: Sequence[str]) -> list[QueueDepth]:
    """Read the named queues; by default the configured ones, and the bare one while something is there."""
    if not names:
        found = depth.read(connection, [*settings.queues, BARE_QUEUE])
        return [d for d in found if d.name in settings.queues or d.ready or d.in_flight]
    found = depth.read(connection, names)
    for d in found:
        if d.name not in (*settings.queues, BARE_QUEUE) and not d.ready and not d.in_flight:
            raise NoSuchQueue(name=d.name, url=broker_address(settings).shown, known=", ".join(settings.queues))
    return found
