"""Look at the queues and at who serves them, over one connection to the broker."""

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
    """Give a function that reads the depth of the named queues (none: all that are known) and the live workers.

    `also` are queues that are read, too, where none is named.
    Raises NoBroker, BrokerUnreachable, BrokerRefused; the function also NoSuchQueue.
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
    """Find queues among the keys of the broker, known or not.

    Raises NoBroker, BrokerUnreachable, BrokerRefused, UsageError for a broker that is not Redis.
    """
    address = broker_address(settings)
    if not is_redis(address.url):
        what = f"--all looks at the keys of a Redis broker, which {address.shown} is not"
        raise UsageError(what=what, fix="`rabbitmqctl list_queues` lists them there; `mlq queues NAME` shows one")
    with connected(settings, address) as connection:
        return queue_names.scan(redis_client(connection))


def demand(settings: Settings, name: str) -> None:
    """Make sure that there is such a queue. Raises NoBroker, BrokerUnreachable, BrokerRefused, NoSuchQueue."""
    with queues(settings, [name]) as read:
        read()


def pause(settings: Settings, name: str) -> None:
    """Let no worker of mlq's take from a queue; what runs goes on, and what is sent waits.

    Raises NoBroker, NeedsRedis, BrokerUnreachable, BrokerRefused, NoSuchQueue.
    """
    with _on_redis(settings, name) as redis:
        script.run_commands(redis, ["SADD", keys.PAUSED, name])  # memory may be full, which may be why


def resume(settings: Settings, name: str) -> bool:
    """Let workers take from a queue again; False if it was not paused. Raises as `pause` does."""
    with _on_redis(settings, name) as redis:
        return bool(redis.srem(keys.PAUSED, name))


def forget(settings: Settings, name: str) -> None:
    """Forget a queue that neither the configuration nor a live worker knows."""
    with state_store(settings) as store:
        if name not in settings.known_queues and not heartbeats.serving(heartbeats.read(store), name):
            queue_names.forget(store, name)


@contextmanager
def _on_redis(settings: Settings, name: str) -> Iterator[Redis]:
    """Open the broker of a queue that is there, where mlq's workers look at what is paused."""
    address = broker_address(settings)
    demand_redis(address, "a paused queue")
    demand(settings, name)
    with connected(settings, address) as connection:
        yield redis_client(connection)


def _all(settings: Settings, connection: Connection, names: Iterable[str]) -> list[QueueDepth]:
    """Read these queues; the one of bare clients only while something is there: every worker serves it."""
    found = depth.read(connection, list(names))
    return [d for d in found if d.name != BARE_QUEUE or d.name in settings.queues or _holds(d)]


def _named(settings: Settings, connection: Connection, names: Sequence[str], known: Sequence[str]) -> list[QueueDepth]:
    found = depth.read(connection, names)
    for d in found:
        if d.name not in known and not _holds(d):
            raise NoSuchQueue(name=d.name, url=broker_address(settings).shown, meant=queue_names.hint(d.name, known))
    return found


def _holds(found: QueueDepth) -> bool:
    """Tell whether anything waits or runs."""
    return bool(found.ready or found.in_flight or found.delayed)
