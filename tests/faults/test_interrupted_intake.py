"""Redis fails between a claim and its handling: no message stays with a worker that does not know of it."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from chaos.faultkit import until
from mlq.broker import embedded
from mlq.engine.claimer import Claimer
from mlq.engine.ledger import Ledger
from mlq.engine.rejection import Rejection
from mlq.store.claims.claims import ClaimLimit, Claims
from mlq.store.claims.leases import Leases
from mlq.store.queues.doorbell import Doorbell

WID = "host:interrupted:1"


class Interrupted(Rejection):
    """A rejection that fails once, as if the connection broke."""

    failed = False

    def _once(self) -> None:
        if not self.failed:
            self.failed = True
            raise RedisConnectionError

    def dead_letter(self, *args: Any) -> None:
        self._once()
        super().dead_letter(*args)

    def delay(self, *args: Any) -> None:
        self._once()
        super().delay(*args)


@pytest.mark.parametrize("disturbing", ["eta", "malformed"])
def test_messages_claimed_with_one_that_could_not_be_dead_lettered_still_run(
    server: embedded.Server, redis: Redis, disturbing: str
) -> None:
    """The worker reported these claims as held, so they were never handed out again while it lived."""
    ledger = Ledger()
    claims = Claims(redis, WID, ["q"], together=["t"])
    aside = Interrupted(redis, WID, claims, ledger, lambda *_: None, lambda _: True)
    Leases(redis).register(WID)
    stock = Celery("stranger", broker=server.url, backend="disabled://", set_as_current=False)
    if disturbing == "eta":
        stock.send_task("t", queue="q", countdown=3600)
    else:
        redis.lpush("q", b'{"headers": {"task": "t"}')
    innocent = stock.send_task("t", queue="q").id
    stock.close()
    doorbell = Doorbell(redis, claims.watched, claims.bell)
    intake = Claimer(claims, ledger, doorbell, aside, ClaimLimit(rows=8), order=lambda: ["q"], wake=lambda: None)
    intake.start()
    try:
        until(lambda: intake.waiting, "a batch is staged", 10)
        batch = intake.take()
        assert [m.task_id for m in batch] == [innocent]
        assert ledger.holding == {m.claim.id for m in batch}
    finally:
        intake.end(10)
