"""Overview: the queues and the workers that serve them, read over one connection to the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from mlq.broker import script
from mlq.broker.connection import (
    broker_address,
    connected,
    demand_redis,
    is_redis,
    redis_client,
    state_address,
    state_store,
)
from mlq.errors import NoSuchQueue, UsageError
from mlq.protocol import keys
from mlq.protocol.names import BARE_QUEUE
from mlq.settings.config import Settings
from mlq.store.queues import depth, queue_names
from mlq.store.queues.depth import QueueDepth
from mlq.store.workers import heartbeats
from mlq.store.workers.heartbeats import Heartbeat

if TYPE_CHECKING:
    from kombu import Connection
    from redis import Redis

    from mlq.store.queues.queue_names import Scan

Read = Callable[[], tuple[list[QueueDepth], list[Heartbeat]]]


@contextmanager
def queues(settings: Settings, names: Sequence[str], also: Sequence[str] = ()) -> Iterator[Read]:
    """Yield a function that reads the depth of the named queues, or of all known ones, and the live workers.

    `also` are further queues to read if no queue is named.
    Raises NoBroker, BrokerUnreachable, BrokerRefused; the function raises NoSuchQueue, too.
    """
    broker, state = broker_address(settings), state_address(settings)
    with ExitStack() as stack:
        connection = stack.enter_context(connected(settings, broker))
        store = connection if state == broker else stack.enter_context(connected(settings, state))

        def read() -> tuple[list[QueueDepth], list[Heartbeat]]:
            workers = heartbeats.read(redis_client(store))
            known = queue_names.known(settings, redis_client(store), workers)
            if names:
                return _named(settings, connection, names, known), workers
            return _all(settings, connection, dict.fromkeys((*known, *also))), workers

        yield read


def scan(settings: Settings) -> Scan:
    """Find queues among all keys of the broker, including unknown ones.

    Raises NoBroker, BrokerUnreachable, BrokerRefused; UsageError if the broker is not Redis.
    """
    address = broker_address(settings)
    if not is_redis(address.url):
        what = f"--all looks at the keys of a Redis broker, which {address.shown} is not"
        raise UsageError(what=what, fix="`rabbitmqctl list_queues` lists them there; `mlq queues NAME` shows one")
    with connected(settings, address) as connection:
        return queue_names.scan(redis_client(connection))


def demand(settings: Settings, name: str) -> None:
    """Check that a queue exists. Raises NoBroker, BrokerUnreachable, BrokerRefused, NoSuchQueue."""
    with queues(settings, [name]) as read:
        read()


def pause(settings: Settings, name: str) -> None:
    """Pause a queue: workers claim nothing from it. Running tasks continue, and new messages wait.

    Raises NoBroker, NeedsRedis, BrokerUnreachable, BrokerRefused, NoSuchQueue.
    """
    with _on_redis(settings, name) as redis:
        script.run_commands(redis, ["SADD", keys.PAUSED, name])  # this must work even while memory is full


def resume(settings: Settings, name: str) -> bool:
    """Resume a queue; return False if it was not paused. Raises the same exceptions as `pause`."""
    with _on_redis(settings, name) as redis:
        return bool(redis.srem(keys.PAUSED, name))


def forget(settings: Settings, name: str) -> None:
    """Remove the name of a queue, unless the configuration or a live worker names it."""
    with state_store(settings) as store:
        if name not in settings.known_queues and not heartbeats.serving(heartbeats.read(store), name):
            queue_names.forget(store, name)


@contextmanager
def _on_redis(settings: Settings, name: str) -> Iterator[Redis]:
    """Open the broker of an existing queue; it must be Redis, where mlq's workers read which queues are paused."""
    address = broker_address(settings)
    demand_redis(address, "a paused queue")
    demand(settings, name)
    with connected(settings, address) as connection:
        yield redis_client(connection)


def _all(settings: Settings, connection: Connection, names: Iterable[str]) -> list[QueueDepth]:
    """Read queues; leave out the queue of bare clients while it is empty, because every worker serves it anyway."""
    found = depth.read(connection, list(names))
    return [d for d in found if d.name != BARE_QUEUE or d.name in settings.queues or _holds(d)]


def _named(settings: Settings, connection: Connection, names: Sequence[str], known: Sequence[str]) -> list[QueueDepth]:
    found = depth.read(connection, names)
    for d in found:
        if d.name not in known and not _holds(d):
            raise NoSuchQueue(name=d.name, url=broker_address(settings).shown, meant=queue_names.hint(d.name, known))
    return found


def _holds(found: QueueDepth) -> bool:
    """Return True if any message of the queue waits or runs."""
    return bool(found.ready or found.in_flight or found.delayed)
