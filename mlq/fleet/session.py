"""A fleet from start to end: a broker that is there, the workers, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from mlq.broker import embedded
from mlq.broker.connection import Address, broker_address, connected, is_redis, redis_client, state_store
from mlq.config import Settings, state_directory
from mlq.consumer.heartbeat import HeartbeatThread
from mlq.consumer.lease import LeaseThread
from mlq.fleet.recovery import Recovery
from mlq.fleet.running import Fleet, News
from mlq.fleet.slots import Slots
from mlq.fleet.spec import WorkerSpec

if TYPE_CHECKING:
    from redis import Redis

_LAST_WORDS_S: Final = 5.0
"""How long the end waits for the last workers' claims to be given back; then their leases run out."""


def run(
    settings: Settings,
    plan: Callable[[Slots], list[WorkerSpec]],
    opened: Callable[[Address, Sequence[WorkerSpec]], Callable[[News], None]],
) -> int:
    """Plan, make sure of a broker, run the workers until they are stopped; give the exit code.

    `opened` is told what is about to run, and gives the function that is told all further news.
    Devices and model are looked at before a broker is started. Raises what `plan` raises, NoServerProgram,
    ServerDidNotStart, BrokerUnreachable, BrokerRefused, WorkersFailed, WorkersMisconfigured.
    """
    with closing(Slots(state_directory(settings))) as slots:
        specs = plan(slots)
        with _broker(settings) as broker:
            recovery = _recovery(settings, broker)
            fleet = Fleet(specs, opened(broker, specs), recovery.died, settings.worker.drain_timeout)
            heart = HeartbeatThread(partial(state_store, settings), fleet.describe, fleet.obey)
            try:
                with _leases(settings, broker, fleet):
                    heart.start()  # not sooner: kombu's lazy modules must not be imported by two threads at once
                    return fleet.run()
            finally:
                recovery.end(_LAST_WORDS_S)
                heart.end()


@contextmanager
def _leases(settings: Settings, broker: Address, fleet: Fleet) -> Iterator[None]:
    """Keep the workers' leases renewed, where the broker knows leases."""
    if not is_redis(broker.url):
        yield
        return
    with connected(settings, broker) as connection:
        thread = LeaseThread(redis_client(connection), fleet.leased, fleet.fence)
        thread.start()
        try:
            yield
        finally:
            thread.end()


def _recovery(settings: Settings, broker: Address) -> Recovery:
    """Start the thread that gives back what dead workers held."""

    @contextmanager
    def open_broker() -> Iterator[Redis]:
        with connected(settings, broker) as connection:
            yield redis_client(connection)

    def answer_key(task_id: str) -> tuple[str, int] | None:
        here = settings.result_backend in {None, broker.url}
        return (f"celery-task-meta-{task_id}", settings.result_expires) if here else None

    recovery = Recovery(open_broker, answer_key)
    if is_redis(broker.url):
        recovery.start()
    return recovery


@contextmanager
def _broker(settings: Settings) -> Iterator[Address]:
    """Make sure that a broker answers: the configured one, else the embedded one, which is ours to start."""
    if settings.broker_url is None:
        with embedded.running(state_directory(settings)):
            yield broker_address(settings)
        return
    address = broker_address(settings)
    with connected(settings, address):
        pass
    yield address
