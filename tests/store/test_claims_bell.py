"""Of many idle workers one watches the queues; the others wait at a bell that wakes one at a time."""

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
    """Start a worker of some queues."""

    def start(wid: str, *queues: str) -> Claims:
        Leases(redis, lease_ms=60_000).register(wid)
        return Claims(redis, wid, queues or ("realtime", "batch"), together=["mlq.predict"])

    return start


def rings(redis: Redis, worker: Claims) -> int:
    """Take the tokens that wait at a worker's bell."""
    return len(redis.lpop(worker.bell, 10) or [])


def test_one_idle_worker_of_those_that_serve_the_same_queues_watches(start: Callable[..., Claims]) -> None:
    """In whatever order it serves them; a worker of other queues watches its own."""
    first, second = start("1"), start("2", "batch", "realtime")
    other = start("3", "batch")
    assert first.claim(BATCH) == QueueEmpty(watch=True)
    assert second.claim(BATCH) == QueueEmpty(watch=False)
    assert other.claim(BATCH) == QueueEmpty(watch=True)
    assert first.claim(BATCH) == QueueEmpty(watch=True)


def test_a_worker_with_something_in_hand_does_not_watch(redis: Redis, start: Callable[..., Claims]) -> None:
    """It looks for its next batch while the device computes: it would hear of work and have no hands for it."""
    busy = start("1")
    redis.lpush("batch", ONE)
    reply = busy.claim(BATCH)
    assert isinstance(reply, Claimed)
    assert busy.claim(BATCH, holding=[claim.id for claim in reply.claims]) == QueueEmpty(watch=False)


def test_a_watcher_that_is_taken_away_rings_once_for_its_successor(redis: Redis, start: Callable[..., Claims]) -> None:
    """Otherwise nobody would hear of the next message until somebody looks by itself."""
    watcher, idle = start("1"), start("2")
    watcher.claim(BATCH)
    idle.claim(BATCH)
    redis.lpush("realtime", ONE)
    assert isinstance(watcher.claim(BATCH), Claimed)
    assert rings(redis, idle) == 1
    assert idle.claim(BATCH) == QueueEmpty(watch=True)


def test_whoever_leaves_messages_behind_rings_once(redis: Redis, start: Callable[..., Claims]) -> None:
    """Each wakes the next, until none is left; a bell that has been rung already holds one token, not more."""
    first, second, third = start("1"), start("2"), start("3")
    for _ in range(3):
        redis.lpush("batch", ONE)
    first.claim(BATCH)
    second.claim(BATCH)
    assert rings(redis, third) == 1
    third.claim(BATCH)
    assert rings(redis, third) == 0


def test_the_bell_wakes_one_of_those_who_wait(redis: Redis, start: Callable[..., Claims]) -> None:
    """A token goes to one BRPOP, and leaves no trace."""
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
    """The reaper rings; what the dead one held is found by whoever comes."""
    watcher, idle = start("1"), start("2")
    assert watcher.claim(BATCH) == QueueEmpty(watch=True)
    assert idle.claim(BATCH) == QueueEmpty(watch=False)
    Leases(redis).reap("1", to="tail")
    assert rings(redis, idle) == 1
    assert idle.claim(BATCH) == QueueEmpty(watch=True)


def test_a_frozen_watcher_loses_its_role(redis: Redis, start: Callable[..., Claims]) -> None:
    """Its supervisor renews its lease all the same, so the role itself runs out."""
    watcher, idle = start("1"), start("2")
    watcher.claim(BATCH)
    assert idle.claim(BATCH) == QueueEmpty(watch=False)
    redis.hset(keys.WATCHES, watcher.bell, "1000 1")  # as if it had last looked long ago
    assert idle.claim(BATCH) == QueueEmpty(watch=True)
    assert watcher.claim(BATCH) == QueueEmpty(watch=False)


def test_a_worker_that_finishes_finds_the_next_message_by_itself(redis: Redis, start: Callable[..., Claims]) -> None:
    """The bell may be lost: nothing depends on it but the time until somebody looks."""
    worker = start("1")
    redis.lpush("batch", ONE, ONE)
    for _ in range(2):
        reply = worker.claim(BATCH)
        assert isinstance(reply, Claimed)
        redis.delete(worker.bell)
        assert worker.complete(Completion(reply.claims[0])) == Completed()
