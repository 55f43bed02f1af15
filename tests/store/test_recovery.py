"""A dead-lettered task is answered, even if its supervisor dies before it can answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from celery import Celery
from redis import Redis

from chaos.faultkit import until
from mlq.broker.embedded import Server
from mlq.broker.errors import BrokerUnreachable
from mlq.protocol import keys
from mlq.store.claims.claims import Claimed, ClaimLimit, Claims
from mlq.store.claims.leases import Crash, Leases, Reaped
from mlq.supervisor.recovery.death import Death, Overrun
from mlq.supervisor.recovery.lost_results import LostResults
from mlq.supervisor.recovery.recovery import Recovery

META = "celery-task-meta-{}"


@pytest.mark.parametrize(
    ("overrun", "kind", "text"),
    [(None, "WorkerLostError", "died once"), (Overrun(2.0, ()), "TimeLimitExceeded", "2.0")],
)
def test_the_next_recovery_answers_for_a_supervisor_that_died_while_dead_lettering(
    server: Server, redis: Redis, overrun: Overrun | None, kind: str, text: str
) -> None:
    """The letter and the note that it is unanswered are written in one step; the answer is a second step."""
    with Celery("stranger", broker=server.url, set_as_current=False) as client:
        task_id = client.send_task("mlq.predict", [1], queue="q").id
    crash = Death("h:w:1", -9, asked=False, overrun=overrun).crash
    assert crash is not None
    Leases(redis).register("h:w:1")
    taken = Claims(redis, "h:w:1", ["q"], together=[]).claim(ClaimLimit(rows=1))
    assert isinstance(taken, Claimed)
    reaped = Leases(redis).reap("h:w:1", to="tail", crash=Crash(1, crash.circumstances))
    assert isinstance(reaped, Reaped)
    assert reaped.dead_lettered
    assert not redis.exists(META.format(task_id)), "here its supervisor dies"
    recovery = Recovery(
        lambda: opened(redis),
        LostResults(lambda i: (META.format(i), 60), lambda: opened(redis), belongs_to_job=lambda _: True),
    )
    recovery.start()
    recovery.end(10)
    answer = json.loads(str(redis.get(META.format(task_id)).decode()))  # type: ignore[union-attr]
    assert (answer["status"], answer["result"]["exc_type"]) == ("FAILURE", kind)
    assert text in str(answer["result"]["exc_message"])
    assert not redis.exists(keys.UNANSWERED)


def test_the_answer_goes_to_the_database_of_the_results(server: Server, redis: Redis) -> None:
    """Results are often in another database of the broker's server.

    A client that reads there would wait without end.
    """
    with Celery("stranger", broker=server.url, set_as_current=False) as client:
        task_id = client.send_task("mlq.predict", [1], queue="q").id
    Leases(redis).register("h:w:1")
    Claims(redis, "h:w:1", ["q"], together=[]).claim(ClaimLimit(rows=1))
    crash = Death("h:w:1", -9, asked=False).crash
    assert crash is not None
    Leases(redis).reap("h:w:1", to="tail", crash=Crash(1, crash.circumstances))
    with Redis(unix_socket_path=server.url.removeprefix("redis+socket://"), db=1) as elsewhere:
        lost_results = LostResults(
            lambda i: (META.format(i), 60), lambda: opened(elsewhere), belongs_to_job=lambda _: True, answers_here=False
        )
        recovery = Recovery(lambda: opened(redis), lost_results)
        recovery.start()
        recovery.end(10)
        assert json.loads(str(elsewhere.get(META.format(task_id)).decode()))["status"] == "FAILURE"
    assert not redis.exists(META.format(task_id), keys.UNANSWERED)


def test_a_crash_while_redis_is_away_is_counted_once_redis_is_back(server: Server, redis: Redis) -> None:
    """A process that reaps a worker because its lease expired counts no crash.

    A message that kills workers would run once more.
    """
    with Celery("stranger", broker=server.url, set_as_current=False) as client:
        client.send_task("mlq.predict", [1], queue="q")
    Leases(redis).register("h:w:1")
    taken = Claims(redis, "h:w:1", ["q"], together=[]).claim(ClaimLimit(rows=1))
    assert isinstance(taken, Claimed)
    tries = iter([True, True])

    def open_broker() -> AbstractContextManager[Redis]:
        if next(tries, False):
            raise BrokerUnreachable(url="", origin="", reason="", fix="")
        return opened(redis)

    recovery = Recovery(
        open_broker, LostResults(lambda i: (META.format(i), 60), lambda: opened(redis), belongs_to_job=lambda _: True)
    )
    recovery.start()
    recovery.died(Death("h:w:1", -9, asked=False))
    until(lambda: redis.llen("q") == 1, "it is queued again")
    recovery.end(10)
    assert redis.hvals(keys.CRASHES) == [b"1"]


@contextmanager
def opened(redis: Redis) -> Iterator[Redis]:
    """Yield a connection as a supervisor opens one."""
    yield redis
