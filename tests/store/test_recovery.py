"""A buried task is answered, also when the supervisor that buried it dies before it can say so."""

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
    ("overrun", "kind", "said"),
    [(None, "WorkerLostError", "died once"), (Overrun(2.0, ()), "TimeLimitExceeded", "2.0")],
)
def test_whoever_recovers_next_answers_for_a_supervisor_that_died_as_it_buried(
    server: Server, redis: Redis, overrun: Overrun | None, kind: str, said: str
) -> None:
    """The letter and the note that nobody has answered it are one step; answering is another."""
    with Celery("stranger", broker=server.url, set_as_current=False) as client:
        task_id = client.send_task("mlq.predict", [1], queue="q").id
    crash = Death("h:w:1", -9, asked=False, overrun=overrun).crash
    assert crash is not None
    Leases(redis).register("h:w:1")
    taken = Claims(redis, "h:w:1", ["q"], together=[]).claim(ClaimLimit(rows=1))
    assert isinstance(taken, Claimed)
    reaped = Leases(redis).reap("h:w:1", to="tail", crash=Crash(1, crash.circumstances))
    assert isinstance(reaped, Reaped)
    assert reaped.buried
    assert not redis.exists(META.format(task_id)), "here its supervisor dies"
    recovery = Recovery(
        lambda: opened(redis),
        LostResults(lambda i: (META.format(i), 60), lambda: opened(redis), vouches=lambda _: True),
    )
    recovery.start()
    recovery.end(10)
    answer = json.loads(str(redis.get(META.format(task_id)).decode()))  # type: ignore[union-attr]
    assert (answer["status"], answer["result"]["exc_type"]) == ("FAILURE", kind)
    assert said in str(answer["result"]["exc_message"])
    assert not redis.exists(keys.UNANSWERED)


def test_the_answer_goes_to_where_results_are(server: Server, redis: Redis) -> None:
    """Another database of the broker's server is common; a client that looks there would wait for ever."""
    with Celery("stranger", broker=server.url, set_as_current=False) as client:
        task_id = client.send_task("mlq.predict", [1], queue="q").id
    Leases(redis).register("h:w:1")
    Claims(redis, "h:w:1", ["q"], together=[]).claim(ClaimLimit(rows=1))
    crash = Death("h:w:1", -9, asked=False).crash
    assert crash is not None
    Leases(redis).reap("h:w:1", to="tail", crash=Crash(1, crash.circumstances))
    with Redis(unix_socket_path=server.url.removeprefix("redis+socket://"), db=1) as elsewhere:
        told = LostResults(
            lambda i: (META.format(i), 60), lambda: opened(elsewhere), vouches=lambda _: True, answers_here=False
        )
        recovery = Recovery(lambda: opened(redis), told)
        recovery.start()
        recovery.end(10)
        assert json.loads(str(elsewhere.get(META.format(task_id)).decode()))["status"] == "FAILURE"
    assert not redis.exists(META.format(task_id), keys.UNANSWERED)


def test_a_death_while_redis_is_away_is_recovered_with_its_blame_once_it_is_back(server: Server, redis: Redis) -> None:
    """Whoever else reaped the worker when its lease ran out would blame nobody, and a pill had one more run."""
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
        open_broker, LostResults(lambda i: (META.format(i), 60), lambda: opened(redis), vouches=lambda _: True)
    )
    recovery.start()
    recovery.died(Death("h:w:1", -9, asked=False))
    until(lambda: redis.llen("q") == 1, "it is queued again")
    recovery.end(10)
    assert redis.hvals(keys.CRASHES) == [b"1"]


@contextmanager
def opened(redis: Redis) -> Iterator[Redis]:
    """Give a connection as a supervisor opens one."""
    yield redis
