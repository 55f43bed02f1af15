"""What submitting and collecting need: the store of records, the queues, the results, with failures explained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlq.broker.connection import (
    bare,
    broker_address,
    connected,
    explained,
    is_redis,
    redis_client,
    result_address,
    state_address,
)
from mlq.broker.errors import NoResults, UnreadableResults
from mlq.jobs.send.posting import CeleryPost, ChunkSender, ScriptPost
from mlq.settings.config import Settings
from mlq.store.jobs.record import Job

if TYPE_CHECKING:
    from redis import Redis


@dataclass(frozen=True)
class JobConnections:
    """Where jobs are handed in and collected. `one_step`: records and queues are on one server."""

    settings: Settings
    store: Redis
    answers: Redis | None
    one_step: bool

    @property
    def results(self) -> Redis:
        """The store of results. Raises NoResults, UnreadableResults where answers cannot be read."""
        if self.answers is None:
            result_address(self.settings)
            raise NoResults(origin=self.settings.origin("result_backend"))
        return self.answers

    def post(self, job: Job, sender: str) -> ChunkSender:
        """Give what sends a job's chunks."""
        if self.one_step:
            return ScriptPost(self.store, job, sender)
        from mlq.app import create_app

        app = create_app(self.settings)
        return CeleryPost(self.store, job, sender, app, self._prepare, answered=self.answers is not None)

    def _prepare(self, queue: str) -> None:
        """Declare a queue before its first message. Raises QueueDiffers, InvalidQueueArgument."""
        from mlq.broker import rabbitmq

        address = broker_address(self.settings)
        if is_redis(address.url):  # where a queue is there as soon as it holds a message
            return
        with connected(self.settings, address) as connection:
            # Only the configuration says with which arguments: another queue that is there is taken as it is.
            if queue in self.settings.known_queues or not rabbitmq.exists(connection, queue):
                rabbitmq.declare(connection, self.settings, [queue])


@contextmanager
def desk(settings: Settings) -> Iterator[JobConnections]:
    """Connect; a server that is away is told within seconds.

    Raises NoBroker, NoStateStore, BrokerUnreachable, BrokerRefused.
    """
    broker, state = broker_address(settings), state_address(settings)
    try:
        results = result_address(settings)
    except (NoResults, UnreadableResults):
        results = None
    with ExitStack() as stack:
        opened = {a.url: redis_client(stack.enter_context(connected(settings, a))) for a in {state, results} if a}
        stack.enter_context(explained(broker))
        one_step = is_redis(broker.url) and bare(state.url) == bare(broker.url)
        yield JobConnections(settings, opened[state.url], opened[results.url] if results else None, one_step)
