"""Purge: deletes the messages that wait in a queue, and stores a failure for each one that is a chunk of a job."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mlq.broker.connection import broker_address, connected, is_redis, redis_client, result_store, state_store
from mlq.protocol import job_result
from mlq.protocol.keys import queue_keys
from mlq.protocol.message import job_chunk_in
from mlq.store.jobs import job_results
from mlq.store.jobs.job_tokens import JobTokens
from mlq.store.queues import backlog, depth, overview

if TYPE_CHECKING:
    from kombu import Connection
    from redis import Redis

    from mlq.protocol.job_result import JobChunkRef
    from mlq.settings.config import Settings

_PAGE: Final = 100

_TOLD: Final = {"exc_type": "Purged", "exc_message": ["its queue was purged before it ran"], "exc_module": "mlq"}


def purge(settings: Settings, name: str) -> int:
    """Delete the messages that wait in a queue, at every priority; return their number.

    A Celery client that waits for a deleted task keeps waiting, as after `celery purge`; rows of a job have failed.
    Raises NoBroker, BrokerUnreachable, BrokerRefused, NoSuchQueue; with rows of a file also NoResults.
    """
    address = broker_address(settings)
    overview.demand(settings, name)
    with ExitStack() as stack:
        connection = stack.enter_context(connected(settings, address))
        results: list[Redis] = []
        tokens = JobTokens(partial(state_store, settings))

        def tell(place: JobChunkRef) -> None:
            if not results:  # opened for the first row of a file, and that once
                results.append(stack.enter_context(result_store(settings)))
            end = job_result.chunk_result(place, "FAILURE", _TOLD)
            job_results.file(results[0], job_result.answer_of(place, end))

        if not is_redis(address.url):
            return _drop_each(connection, name, tell, tokens)
        return sum(_drop(redis_client(connection), key, tell, tokens) for key in queue_keys(name))


def _drop_each(connection: Connection, name: str, tell: Callable[[JobChunkRef], None], tokens: JobTokens) -> int:
    """Empty a queue of RabbitMQ, message by message: only who has received one can tell its job."""
    channel: Any = connection.channel()
    dropped = 0
    # Stop after the messages that wait now, or a client that keeps sending would prevent the end.
    for _ in range(depth.read(connection, [name])[0].ready):
        message = channel.basic_get(name)
        if message is None:
            break
        with suppress(ValueError):  # a header that another client made up
            place = job_result.job_chunk_of(message.headers or {})
            if place is not None and tokens.belongs_to_job(place):
                tell(place)
        channel.basic_ack(message.delivery_tag)
        dropped += 1
    return dropped


def _drop(redis: Redis, key: str, tell: Callable[[JobChunkRef], None], tokens: JobTokens) -> int:
    """Empty one list, a page at a time: it may hold more than fits into memory."""
    dropped = 0
    while page := backlog.delete_oldest(redis, key, _PAGE):
        dropped += len(page)
        for raw in page:
            place = job_chunk_in(raw)
            if place is not None and tokens.belongs_to_job(place):
                tell(place)
    return dropped
