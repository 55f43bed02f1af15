"""What a worker relies on when it claims messages, answers them and gives them back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import cast

import pytest
from celery import Celery
from redis import Redis
from redis.client import PubSub
from redis.exceptions import OutOfMemoryError, ResponseError

from chaos.stock_client import stock_client
from mlq.broker import embedded
from mlq.broker.script import Script
from mlq.protocol import keys
from mlq.protocol.keys import queue_key
from mlq.protocol.message import Claim, ClaimLost
from mlq.protocol.names import ROWS_HEADER
from mlq.protocol.result import Answer
from mlq.store.claims.claims import Claimed, ClaimLimit, Claims, LeaseLost, QueueEmpty, Recorded, Released
from mlq.store.claims.completion import Completed, Completion, Successor
from mlq.store.claims.leases import AlreadyReaped, Crash, ExpiryConfirmation, Leases, Reaped
from mlq.store.messages.dead_letters import Answered, DeadLettered, DeadLetters
from mlq.store.messages.delays import Delayed, Delays, Due

QUEUES = ("realtime", "default", "batch")
BATCH = ClaimLimit(rows=64)
CRASH = Crash(limit=3, circumstances={"reason": "crash", "signal": "9", "host": "here"})


@pytest.fixture
def client(server: embedded.Server) -> Iterator[Celery]:
    """Return a stock producer, which uses nothing of mlq."""
    with Celery(broker=server.url, set_as_current=False) as app:
        yield app


@pytest.fixture
def start(redis: Redis) -> Callable[[str], Claims]:
    """Return a function that starts a worker: it registers its lease and returns its claims."""

    def start(wid: str) -> Claims:
        Leases(redis, lease_ms=60_000).register(wid)
        return Claims(redis, wid, QUEUES, together=["mlq.predict", "mlq.batch_predict"])

    return start


@pytest.fixture
def worker(start: Callable[[str], Claims]) -> Claims:
    """Return the claims of a worker that has just started."""
    return start("host:gpu0:1")


def taken(reply: Claimed | QueueEmpty | LeaseLost) -> tuple[Claim, ...]:
    """Return the claims of a reply, which must have brought some."""
    assert isinstance(reply, Claimed), reply
    return reply.claims


def bodies(claims: tuple[Claim, ...]) -> list[bytes]:
    """Return the raw messages of claims."""
    return [claim.raw for claim in claims]


def test_queues_are_served_in_order_and_priority_9_before_0_for_messages_of_any_client(
    client: Celery, worker: Claims
) -> None:
    """Stock workers do the same: priority 0 first, and urgent messages of every queue before others of any queue."""
    for queue in reversed(QUEUES):
        for priority in (None, 9, 3, 6):
            client.send_task("mlq.predict", [[1.0]], queue=queue, priority=priority)
    served = [claim.queue_key for claim in taken(worker.claim(BATCH))]
    assert served == [queue_key(queue, priority) for queue in QUEUES for priority in (9, 6, 3, 0)]


def test_a_message_arrives_as_its_producer_wrote_it(redis: Redis, worker: Claims) -> None:
    """No message is decoded on the way, so no content can break the claim."""
    hostile = [
        b"",
        b"\x00\xff\xfe",
        b"12 34 not ours",
        b'{"task": "mlq.predict"',
        b'{"headers": {"task": "mlq.predict", "mlq_rows": "many"}}',
        b'{"headers": {"task": "mlq.predict", "mlq_rows": ' + b"9" * 500 + b"}}",
        b'{"task":' + b" " * 10_000,
        b"[" * 10_000,
    ]
    for raw in hostile:
        redis.lpush("default", raw)
    served: list[Claim] = []
    while isinstance(reply := worker.claim(BATCH, holding=[claim.id for claim in served]), Claimed):
        served.extend(reply.claims)
    assert bodies(tuple(served)) == hostile
    assert worker.release_many(served, "head") == len(hostile)
    assert cast("list[bytes]", redis.lrange("default", 0, -1)) == hostile[::-1]


def test_a_batch_ends_at_its_limit_of_rows_or_bytes_or_at_another_kind_of_task(client: Celery, worker: Claims) -> None:
    """Rows are counted as mlq's clients state them. A task that is not the model's is claimed alone."""
    for rows in (30, 30, 30):
        client.send_task("mlq.batch_predict", [[]], queue="default", headers={ROWS_HEADER: rows})
    client.send_task("somebody.elses", queue="default")
    client.send_task("mlq.predict", ["x" * 3000], queue="default")
    client.send_task("mlq.predict", ["x" * 3000], queue="default")
    held: list[str] = []
    sizes = []
    while isinstance(reply := worker.claim(ClaimLimit(64, bytes=6000), holding=held), Claimed):
        held += [claim.id for claim in reply.claims]
        sizes.append(len(reply.claims))
    assert sizes == [2, 1, 1, 1, 1]


def test_a_paused_queue_is_skipped(redis: Redis, worker: Claims) -> None:
    """Its messages wait, the messages of other queues do not."""
    redis.lpush("realtime", b"waits")
    redis.lpush("batch", b"runs")
    redis.sadd(keys.PAUSED, "realtime")
    (claim,) = taken(worker.claim(BATCH))
    assert claim.raw == b"runs"
    assert worker.claim(BATCH, holding=[claim.id]) == QueueEmpty(watch=False)


def test_the_claims_of_a_lost_reply_are_handed_out_again_without_new_ones(client: Celery, worker: Claims) -> None:
    """A connection that breaks after the claim loses nothing, and the repeated call claims no more."""
    for _ in range(3):
        client.send_task("mlq.predict", [[1.0]], queue="default")
    lost = taken(worker.claim(ClaimLimit(2)))
    assert taken(worker.claim(ClaimLimit(2))) == lost
    assert len(taken(worker.claim(ClaimLimit(2), holding=[claim.id for claim in lost]))) == 1


def test_a_fenced_worker_can_neither_claim_nor_answer_nor_renew(
    client: Celery, redis: Redis, start: Callable[[str], Claims]
) -> None:
    """Once another worker runs the message, only that worker may answer it."""
    frozen, other = start("host:gpu0:1"), start("host:gpu1:2")
    client.send_task("mlq.predict", [[1.0]], queue="default")
    (claim,) = taken(frozen.claim(BATCH))
    assert Leases(redis).reap("host:gpu0:1", to="head") == Reaped(released=1, dead_lettered=None)
    (again,) = taken(other.claim(BATCH))
    late, right = Answer("celery-task-meta-x", b"late", 60), Answer("celery-task-meta-x", b"right", 60)
    assert other.complete(Completion(again, right)) == Completed()
    assert frozen.complete(Completion(claim, late)) == ClaimLost()
    assert frozen.record(claim, late) == ClaimLost()
    assert frozen.claim(BATCH, holding=[claim.id]) == LeaseLost()
    assert Leases(redis).renew(["host:gpu0:1", "host:gpu1:2"]) == {"host:gpu0:1"}
    assert redis.get("celery-task-meta-x") == b"right"


def test_a_stock_client_sees_the_answer(server: embedded.Server, client: Celery, redis: Redis, worker: Claims) -> None:
    """A client subscribes to a channel with the name of the key that it reads, so an answer is written to both."""
    sent = client.send_task("mlq.predict", [[1.0]], queue="default")
    (claim,) = taken(worker.claim(BATCH))
    key = f"celery-task-meta-{sent.id}"
    meta = {"task_id": sent.id, "status": "SUCCESS", "result": [0.5], "traceback": None, "children": []}
    done = Answer(key, json.dumps(meta).encode(), 60)
    with stock_client(server.url) as reader, PubSub(redis.connection_pool) as waiting:
        waiting.subscribe(key)
        assert waiting.get_message(timeout=10)
        started = replace(done, payload=json.dumps({**meta, "status": "STARTED"}).encode())
        assert worker.record(claim, started) == Recorded()
        assert reader.AsyncResult(sent.id).state == "STARTED"
        assert worker.complete(Completion(claim, done)) == Completed()
        assert reader.AsyncResult(sent.id).result == [0.5]
        published = [waiting.get_message(timeout=10) for _ in range(2)]
    assert [message["data"] for message in published if message] == [started.payload, done.payload]
    assert 0 < redis.ttl(key) <= done.keep_s


def test_a_completion_that_fails_leaves_the_message_with_its_worker(redis: Redis, worker: Claims) -> None:
    """Redis does not roll scripts back. A script that removed the claim first would lose the message here."""
    redis.lpush("default", b"message")
    redis.set("not a list", "")
    (claim,) = taken(worker.claim(BATCH))
    impossible = [
        Completion(claim, None, (Successor("default", b"next"), Successor("not a list", b"next"))),
        Completion(claim, Answer("celery-task-meta-x", b"", 60, db=10_000)),
    ]
    for completion in impossible:
        with pytest.raises(ResponseError, match=r"not a list|out of range"):
            worker.complete(completion)
    assert redis.llen("default") == 0
    assert worker.complete(Completion(claim)) == Completed()


def test_scripts_survive_a_server_that_forgot_them(redis: Redis, worker: Claims) -> None:
    """A server that restarts knows no script. The wrapper sends it again, also in the middle of a batch."""
    for raw in (b"one", b"two"):
        redis.lpush("default", raw)
    first = taken(worker.claim(ClaimLimit(1)))
    redis.script_flush()
    second = taken(worker.claim(ClaimLimit(1), holding=[first[0].id]))
    redis.script_flush()
    done = worker.complete_all([Completion(claim) for claim in first + second])
    assert done == [Completed(), Completed()]


def test_a_call_that_fails_does_not_stop_the_rest_of_its_batch_if_the_server_forgot_the_script(
    redis: Redis, worker: Claims
) -> None:
    """The middle one of three completions is refused: its successor would go to a key that is not a queue."""
    for raw in (b"one", b"two", b"three"):
        redis.lpush("default", raw)
    redis.set("no-queue", "of another application")
    claims: list[Claim] = []
    for _ in range(3):
        claims += taken(worker.claim(ClaimLimit(1), holding=[claim.id for claim in claims]))
    first, second, third = claims
    successors = (Successor("no-queue", b"{}"),)
    redis.script_flush()
    with pytest.raises(ResponseError, match="no-queue"):
        worker.complete_all([Completion(first), Completion(second, None, successors), Completion(third)])
    assert redis.hkeys(keys.claims(worker.wid)) == [second.id.encode()]


def test_two_reapers_give_the_same_claims_back_once(
    client: Celery, redis: Redis, start: Callable[[str], Claims]
) -> None:
    """One supervisor saw the process end and another saw the lease expire, at the same moment."""
    for n in range(20):
        wid = f"host:gpu0:{n}"
        client.send_task("mlq.predict", [[1.0]], queue="default")
        taken(start(wid).claim(BATCH))
        redis.zadd(keys.LEASES, {wid: 1})
        together = threading.Barrier(2)

        def local(wid: str = wid, together: threading.Barrier = together) -> object:
            together.wait()
            return Leases(redis).reap(wid, to="tail")

        def foreign(wid: str = wid, together: threading.Barrier = together) -> object:
            together.wait()
            return Leases(redis).reap_expired(wid, deadline=1)

        with ThreadPoolExecutor(2) as pool:
            outcomes = [future.result() for future in (pool.submit(local), pool.submit(foreign))]
        assert sorted(map(repr, outcomes)) == sorted(map(repr, [AlreadyReaped(), Reaped(1, None)]))
        assert redis.llen("default") == 1
        redis.delete("default")


def test_a_message_that_kills_its_worker_alone_three_times_is_dead_lettered_and_its_batch_mates_are_not(
    redis: Redis, start: Callable[[str], Claims]
) -> None:
    """A crash with several messages in hand makes them suspects.

    Suspects run alone, so the next crash shows which one caused it.
    """
    for name in (b"innocent", b"pill"):
        redis.lpush("default", b'{"headers": {"task": "mlq.predict", "id": "%s"}}' % name)
    crashes, dead_lettered = 0, None
    while dead_lettered is None:
        crashes += 1
        wid = f"host:gpu0:{crashes}"
        worker = start(wid)
        claims = taken(worker.claim(BATCH))
        if b"pill" not in claims[-1].raw:
            assert worker.complete(Completion(claims[0])) == Completed()
            claims = taken(worker.claim(BATCH))
        reaped = Leases(redis).reap(wid, to="tail", crash=CRASH)
        assert isinstance(reaped, Reaped)
        dead_lettered = reaped.dead_lettered
    assert (
        crashes == 1 + CRASH.limit
    )  # the first crash, with the innocent message beside the pill, counts against neither
    letter = DeadLetters(redis).read(dead_lettered)
    assert letter
    assert (letter.queue_key, letter.crashes, letter.circumstances) == ("default", 3, CRASH.circumstances)
    assert not redis.exists("default", keys.CRASHES)


def test_a_suspect_is_not_claimed_beside_other_work(redis: Redis, start: Callable[[str], Claims]) -> None:
    """Neither in the same claim nor staged behind messages that the worker already holds."""
    first = start("host:gpu0:1")
    for _ in range(2):
        redis.lpush("batch", b'{"task": "mlq.predict"}')
    taken(first.claim(BATCH))
    Leases(redis).reap("host:gpu0:1", to="tail", crash=CRASH)
    redis.lpush("default", b"work")
    second = start("host:gpu0:2")
    (work,) = taken(second.claim(BATCH))
    assert work.raw == b"work"
    assert second.claim(BATCH, holding=[work.id]) == QueueEmpty(watch=False)
    assert second.complete(Completion(work)) == Completed()
    (suspect,) = taken(second.claim(BATCH))
    assert suspect.crashes == 0


def test_a_worker_whose_lease_expires_while_redis_is_away_is_not_reaped() -> None:
    """All leases have expired when Redis comes back. A living supervisor renews its leases before the second look."""
    confirmation = ExpiryConfirmation(patience_s=1.5)
    assert confirmation.confirm({"alive": 100, "dead": 100}, at=0.0) == []
    assert confirmation.confirm({"alive": 4100, "dead": 100}, at=1.5) == [("dead", 100)]


def test_due_messages_are_served_next_and_the_longest_due_first(redis: Redis, worker: Claims) -> None:
    """A due message is older than the messages that were published in the meantime."""
    delays = Delays(redis)
    for raw in (b"second", b"first", b"later"):
        redis.lpush("default", raw)
    for until in (2, 1, 10**15):
        (claim,) = taken(worker.claim(BATCH))
        assert delays.delay("host:gpu0:1", claim, until) == Delayed()
    redis.lpush("default", b"younger")
    moved = delays.move_due()
    assert moved.moved == 2
    assert moved.next_in_ms
    assert redis.lrange("default", 0, -1) == [b"younger", b"second", b"first"]


def test_a_server_without_memory_refuses_new_work_and_lets_workers_empty_it(
    client: Celery, redis: Redis, start: Callable[[str], Claims]
) -> None:
    """Every step of a worker and of its supervisor works.

    If leases could not be renewed, all workers would be fenced.
    """
    leases, delays, letters = Leases(redis), Delays(redis), DeadLetters(redis)
    for _ in range(6):
        client.send_task("somebody.elses", queue="default")
    redis.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        redis.lpush("default", b"refused")

    worker = start("host:gpu0:1")
    assert leases.renew(["host:gpu0:1"]) == frozenset()
    answer = Answer("celery-task-meta-x", b"42", 60)
    (one,) = taken(worker.claim(BATCH))
    assert worker.record(one, answer) == Recorded()
    assert worker.complete(Completion(one, answer, (Successor("batch", b"next"),))) == Completed()
    (two,) = taken(worker.claim(BATCH))
    assert worker.release(two, "head") == Released()
    (two,) = taken(worker.claim(BATCH))
    assert delays.delay("host:gpu0:1", two, 1) == Delayed()
    assert delays.move_due() == Due(moved=1, next_in_ms=None)
    (two,) = taken(worker.claim(BATCH))
    assert letters.dead_letter("host:gpu0:1", two, {"reason": "malformed"}) == DeadLettered(two.id)
    assert letters.answer(two.id, answer) == Answered()
    taken(worker.claim(BATCH))
    assert leases.reap("host:gpu0:1", to="tail", crash=CRASH) == Reaped(released=1, dead_lettered=None)


def test_an_idle_worker_can_take_the_watch_of_a_full_server(redis: Redis, worker: Claims) -> None:
    """A claim that finds nothing has not written yet, so its first write must not be refused for lack of memory."""
    redis.set("filler", b"x" * 1000)
    redis.config_set("maxmemory", 1)
    assert worker.claim(BATCH) == QueueEmpty(watch=True)


def test_a_claim_call_that_arrives_twice_claims_once_and_never_reuses_an_id(redis: Redis, worker: Claims) -> None:
    """A client may repeat a call on a new connection while the first call is still on its way on the old one."""
    for raw in (b"one", b"two"):
        redis.lpush("default", raw)
    call = worker._claim_call(room=ClaimLimit(1), watch_ms=7500, queues=QUEUES, holding=[])
    claim = Script("claims/claim")
    (first,) = claim(redis, *call)[1]
    assert claim(redis, *call)[1] == [first]
    assert worker.release_all("tail") == 1
    (late,) = claim(redis, *call)[1]
    assert late[0] != first[0]
