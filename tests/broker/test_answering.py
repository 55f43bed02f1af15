"""Ends are recorded, whatever the one beside them is refused for."""

from __future__ import annotations

from celery import Celery
from redis import Redis

from mlq.broker.answer import Answer
from mlq.broker.claim import Claim
from mlq.broker.claims import Claims, Room, Taken
from mlq.broker.completion import Completion, Successor
from mlq.broker.embedded import Server
from mlq.broker.leases import Leases
from mlq.consumer.answering import Answering
from mlq.consumer.ledger import Ledger


def test_what_can_never_be_recorded_holds_nobody_up(server: Server, redis: Redis) -> None:
    """A link to a key that is no queue: tried for ten minutes it would stop the worker, and then run again."""
    with Celery("stranger", broker=server.url, set_as_current=False) as client:
        for _ in range(3):
            client.send_task("mlq.predict", [1], queue="q")
    Leases(redis).register("h:w:1")
    claims, ledger = Claims(redis, "h:w:1", ["q"], together=["mlq.predict"]), Ledger()
    taken = claims.claim(Room(rows=3))
    assert isinstance(taken, Taken)
    ledger.take(taken.claims)
    redis.set("no-queue", "somebody else's")
    refused: list[Claim] = []
    answering = Answering(
        claims, ledger, lambda claim, _reason, why: refused.append(claim) if "no-queue" in why else None
    )
    link = (Successor("no-queue", b"{}"),)
    ends = [Completion(c, Answer(f"end-{n}", b"{}", 60), link if n == 1 else ()) for n, c in enumerate(taken.claims)]
    answering.record(ends, behind=False)
    assert refused == [taken.claims[1]]
    assert [redis.exists(f"end-{n}") for n in range(3)] == [1, 0, 1]
