"""One of many idle workers watches the queues; the others wait at a bell that wakes one of them at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from mlq.protocol import keys
from mlq.store.claims.claims import Claimed, ClaimLimit, Claims, QueueEmpty
from mlq.store.claims.completion import Completed, Completion
from mlq.store.claims.leases import Leases

BATCH = ClaimLimit(rows=64)
ONE = b'{"task": "somebody.elses"}'


@pytest.fixture
def start(redis: Redis) -> Callable[..., Claims]:
    """Return a function that starts a worker of some queues."""

    def start(wid: str, *queues: str) -> Claims:
        Leases(redis, lease_ms=60_000).register(wid)
        return Claims(redis, wid, queues or ("realtime", "batch"), together=["mlq.predict"])

    return start


def take_tokens(redis: Redis, worker: Claims) -> int:
    """Take the tokens that wait at a worker's bell, and return their number."""
    return len(redis.lpop(worker.bell, 10) or [])


def test_one_idle_worker_watches_for_all_that_serve_the_same_queues(start: Callable[..., Claims]) -> None:
    """The order in which they serve the queues does not matter. A worker of other queues watches its own."""
    first, second = start("1"), start("2", "batch", "realtime")
    other = start("3", "batch")
    assert first.claim(BATCH) == QueueEmpty(watch=True)
    assert second.claim(BATCH) == QueueEmpty(watch=False)
    assert other.claim(BATCH) == QueueEmpty(watch=True)
    assert first.claim(BATCH) == QueueEmpty(watch=True)


def test_a_worker_that_holds_claims_does_not_watch(redis: Redis, start: Callable[..., Claims]) -> None:
    """It looks for its next batch while the device computes, and it could not run other work that arrives."""
    busy = start("1")
    redis.lpush("batch", ONE)
    reply = busy.claim(BATCH)
    assert isinstance(reply, Claimed)
    assert busy.claim(BATCH, holding=[claim.id for claim in reply.claims]) == QueueEmpty(watch=False)


def test_a_watcher_that_gets_work_rings_once_for_its_successor(redis: Redis, start: Callable[..., Claims]) -> None:
    """Otherwise no worker would notice the next message until one of them polls."""
    watcher, idle = start("1"), start("2")
    watcher.claim(BATCH)
    idle.claim(BATCH)
    redis.lpush("realtime", ONE)
    assert isinstance(watcher.claim(BATCH), Claimed)
    assert take_tokens(redis, idle) == 1
    assert idle.claim(BATCH) == QueueEmpty(watch=True)


def test_a_worker_that_leaves_messages_in_the_queue_rings_once(redis: Redis, start: Callable[..., Claims]) -> None:
    """Each worker wakes the next one until no message is left.

    A bell that was rung before still holds only one token.
    """
    first, second, third = start("1"), start("2"), start("3")
    for _ in range(3):
        redis.lpush("batch", ONE)
    first.claim(BATCH)
    second.claim(BATCH)
    assert take_tokens(redis, third) == 1
    third.claim(BATCH)
    assert take_tokens(redis, third) == 0


def test_the_bell_wakes_one_of_the_waiting_workers(redis: Redis, start: Callable[..., Claims]) -> None:
    """A token goes to one BRPOP, and leaves no key behind."""
    busy = start("1")
    redis.lpush("batch", ONE, ONE)
    with ThreadPoolExecutor(3) as pool:
        idle = [pool.submit(redis.brpop, [busy.bell], 0.5) for _ in range(3)]
        while redis.info("clients")["blocked_clients"] < len(idle):
            pass
        assert isinstance(busy.claim(BATCH), Claimed)
        woken = [waiter.result() for waiter in idle]
    assert len(woken) - woken.count(None) == 1
    assert not redis.exists(busy.bell)


def test_the_watch_of_a_dead_worker_is_handed_on_at_once(redis: Redis, start: Callable[..., Claims]) -> None:
    """The reaper rings. The worker that wakes finds the messages that the dead worker held."""
    watcher, idle = start("1"), start("2")
    assert watcher.claim(BATCH) == QueueEmpty(watch=True)
    assert idle.claim(BATCH) == QueueEmpty(watch=False)
    Leases(redis).reap("1", to="tail")
    assert take_tokens(redis, idle) == 1
    assert idle.claim(BATCH) == QueueEmpty(watch=True)


def test_a_frozen_watcher_loses_its_role(redis: Redis, start: Callable[..., Claims]) -> None:
    """Its supervisor still renews its lease, so the role has an expiry of its own."""
    watcher, idle = start("1"), start("2")
    watcher.claim(BATCH)
    assert idle.claim(BATCH) == QueueEmpty(watch=False)
    redis.hset(keys.WATCHES, watcher.bell, "1000 1")  # as if its last look were long ago
    assert idle.claim(BATCH) == QueueEmpty(watch=True)
    assert watcher.claim(BATCH) == QueueEmpty(watch=False)


def test_a_worker_that_finishes_finds_the_next_message_without_the_bell(
    redis: Redis, start: Callable[..., Claims]
) -> None:
    """A ring may be lost. That costs time until a worker polls, and nothing else."""
    worker = start("1")
    redis.lpush("batch", ONE, ONE)
    for _ in range(2):
        reply = worker.claim(BATCH)
        assert isinstance(reply, Claimed)
        redis.delete(worker.bell)
        assert worker.complete(Completion(reply.claims[0])) == Completed()
