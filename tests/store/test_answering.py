"""The ends of tasks are recorded, even if the one beside them is refused."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from celery import Celery
from redis import Redis

from chaos.faultkit import until
from mlq.broker.embedded import Server
from mlq.broker.script import MIN_ALLOWANCE_BYTES, MemoryAllowance
from mlq.engine.ledger import Ledger, Recorder
from mlq.protocol.message import Claim
from mlq.protocol.result import Answer
from mlq.store.claims.claims import Claimed, ClaimLimit, Claims
from mlq.store.claims.completion import Completion, Successor
from mlq.store.claims.leases import Leases


def test_an_end_that_can_never_be_recorded_does_not_delay_the_others(server: Server, redis: Redis) -> None:
    """The set-up is a link to a key that is not a queue.

    If it were tried for ten minutes, the worker would stop, and the task would run again.
    """
    claims, ledger, taken = claimed(server, redis, 3)
    redis.set("no-queue", "somebody else's")
    refused: list[Claim] = []

    def refuse(claim: Claim, _: str, why: str) -> None:
        assert "no-queue" in why
        refused.append(claim)

    answering = Recorder(claims, ledger, refuse, MemoryAllowance(redis))
    link = (Successor("no-queue", b"{}"),)
    ends = [Completion(c, Answer(f"end-{n}", b"{}", keep_s=0), link if n == 1 else ()) for n, c in enumerate(taken)]
    answering.record(ends, behind=False)
    assert refused == [taken[1]]
    assert [redis.exists(f"end-{n}") for n in range(3)] == [1, 0, 1]


def test_answers_fill_a_full_server_up_to_a_limit_and_then_wait_for_memory(server: Server, redis: Redis) -> None:
    """Answers are larger than the messages that they end.

    Without a limit they would fill the server until it is killed, with everything in it.
    """
    # Not more: the recorder takes up to 64 MiB, and this test makes room only after it has handed in all of them.
    claims, ledger, taken = claimed(server, redis, 4)
    redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) - 1)
    ticks = count(0.0, 10.0)
    overshoot = MemoryAllowance(redis, lambda: next(ticks))
    answering = Recorder(claims, ledger, lambda *_: None, overshoot)
    answering.start()
    for n, claim in enumerate(taken):
        answering.record([Completion(claim, Answer(f"end-{n}", b"x" * MIN_ALLOWANCE_BYTES, keep_s=0))], behind=True)
    until(lambda: overshoot.is_spent, "it is seen")
    assert 1 <= len(ledger.holding) <= 3, "some are recorded, and some wait"
    redis.config_set("maxmemory", 0)
    until(lambda: not ledger.holding, "there is room again")
    assert redis.exists(*(f"end-{n}" for n in range(4))) == 4
    answering.end(10)


def claimed(server: Server, redis: Redis, number: int) -> tuple[Claims, Ledger, Sequence[Claim]]:
    """Claim this number of messages."""
    with Celery("stranger", broker=server.url, set_as_current=False) as client:
        for _ in range(number):
            client.send_task("mlq.predict", [1], queue="q")
    Leases(redis).register("h:w:1")
    claims, ledger = Claims(redis, "h:w:1", ["q"], together=["mlq.predict"]), Ledger()
    taken = claims.claim(ClaimLimit(rows=number))
    assert isinstance(taken, Claimed)
    ledger.take(taken.claims)
    return claims, ledger, taken.claims
