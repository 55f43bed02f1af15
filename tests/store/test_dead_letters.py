"""A dead letter is in one place, even if several operators retry it, repeatedly, or while memory is full."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from redis import Redis

from mlq.protocol import keys
from mlq.store.claims.claims import Claimed, ClaimLimit, Claims
from mlq.store.claims.leases import Leases
from mlq.store.messages.dead_letters import DeadLetters, Requeued, ResultKey


def dead_letter(redis: Redis, number: int) -> list[str]:
    """Dead-letter this number of messages."""
    Leases(redis).register("w")
    claims, letters = Claims(redis, "w", ["q"], together=[]), DeadLetters(redis)
    ids = []
    for n in range(number):
        redis.lpush("q", b'{"n": %d}' % n)
        taken = claims.claim(ClaimLimit(rows=1), holding=())
        assert isinstance(taken, Claimed)
        letters.dead_letter("w", taken.claims[0], {"reason": "crash"})
        ids.append(taken.claims[0].id)
    return ids


def test_two_operators_who_requeue_the_same_letters_queue_each_once(redis: Redis) -> None:
    """Each message is as it was, behind the messages that wait, and its old failure is removed."""
    ids = dead_letter(redis, 50)
    redis.lpush("q", b"waits")
    redis.set("celery-task-meta-t", b"FAILURE")
    letters = DeadLetters(redis)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda i: letters.requeue(i, ResultKey("celery-task-meta-t")), ids * 4))
    assert sum(isinstance(d, Requeued) for d in done) == 50
    assert sorted(redis.lrange("q", 0, -1)) == sorted([b"waits", *(b'{"n": %d}' % n for n in range(50))])
    assert redis.lindex("q", -1) == b"waits"
    assert not redis.exists(keys.DEAD, "celery-task-meta-t", *map(keys.dead_letter, ids))


def test_letters_are_requeued_and_dropped_while_memory_is_full(redis: Redis) -> None:
    """An operator makes room at exactly that time."""
    one, other = dead_letter(redis, 2)
    redis.config_set("maxmemory", "1")
    assert isinstance(DeadLetters(redis).requeue(one, None), Requeued)
    assert DeadLetters(redis).drop(other)
    assert not DeadLetters(redis).drop(other)
    redis.config_set("maxmemory", "0")
    assert redis.lrange("q", 0, -1) == [b'{"n": 0}']


def test_letters_of_several_pages_are_all_read_once(redis: Redis) -> None:
    """They are read page by page; a letter that another operator takes in the meantime is left out."""
    ids = dead_letter(redis, 250)
    found = iter(DeadLetters(redis))
    first = next(found)
    DeadLetters(redis).drop(ids[200])
    assert sorted([first.id, *(letter.id for letter in found)]) == sorted({*ids} - {ids[200]})
