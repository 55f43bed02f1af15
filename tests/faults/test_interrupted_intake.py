"""Redis fails between a claim and what is done with it: nothing stays in the hands of a worker that forgot it."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from chaos.faultkit import until
from mlq.broker import embedded
from mlq.engine.claimer import Claimer
from mlq.engine.doorbell import Doorbell
from mlq.engine.ledger import Ledger
from mlq.engine.rejection import Rejection
from mlq.store.claims.claims import ClaimLimit, Claims
from mlq.store.claims.leases import Leases

WID = "host:interrupted:1"


class Interrupted(Rejection):
    """Fails once, as if the connection broke."""

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
def test_what_was_claimed_with_a_message_that_could_not_be_set_aside_is_run_all_the_same(
    server: embedded.Server, redis: Redis, disturbing: str
) -> None:
    """Its worker said that it held it, so it was never handed out again: stranded for as long as the worker lived."""
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
        intake.end()
        intake.join(10)
