"""Job connections: the servers of job records, queues and results; failed connections become errors with hints."""

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
from mlq.jobs.send.sender import CelerySender, ChunkSender, ScriptSender
from mlq.settings.config import Settings
from mlq.store.jobs.record import Job

if TYPE_CHECKING:
    from redis import Redis


@dataclass(frozen=True)
class JobConnections:
    """The connections of a command that submits or collects jobs."""

    settings: Settings

    store: Redis
    """The server of job records."""

    answers: Redis | None
    """The server of results; None if no results are kept, or mlq cannot read them."""

    one_step: bool
    """Whether records and queues are on one server, so that one step sends and records a chunk."""

    def results(self) -> Redis:
        """Return the server of results. Raises NoResults, UnreadableResults."""
        if self.answers is None:
            result_address(self.settings)
            raise NoResults(origin=self.settings.origin("result_backend"))
        return self.answers

    def chunk_sender(self, job: Job, token: str) -> ChunkSender:
        """Return the sender of a job's messages; `token` identifies this process as the job's sender."""
        if self.one_step:
            return ScriptSender(self.store, job, token)
        from mlq.app import create_app

        return CelerySender(self.store, job, token, create_app(self.settings), self._prepare)

    def _prepare(self, queue: str) -> None:
        """Declare a queue before its first message. Raises QueueDiffers, InvalidQueueArgument."""
        from mlq.broker import rabbitmq

        address = broker_address(self.settings)
        if is_redis(address.url):  # Redis needs no declaration
            return
        with connected(self.settings, address) as connection:
            # The arguments of a queue are known from the configuration only; an existing queue keeps its own.
            if queue in self.settings.known_queues or not rabbitmq.exists(connection, queue):
                rabbitmq.declare(connection, self.settings, [queue])


@contextmanager
def connected_jobs(settings: Settings) -> Iterator[JobConnections]:
    """Connect to the servers. A server that is away is reported within seconds.

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
