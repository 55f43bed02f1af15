"""Numbers in a message: none ends a worker, keeps it busy without end, or leaves its client without an answer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from chaos.reliability.corpus import body, put, spoiled
from tests.conftest import Start, User

POOLS = {"engine": ("--cpus", "1"), "prefork": ("--pool", "prefork", "--concurrency", "1")}

TASKS = '''
import time
from celery import shared_task

@shared_task(name="own.again", autoretry_for=(ValueError,), retry_backoff=True, max_retries=None)
def again(row):
    """Fail, and be tried again ever later."""
    raise ValueError(row)

@shared_task(name="own.rests")
def rests(seconds):
    """Take a while."""
    time.sleep(seconds)
    return seconds
'''

LINK: dict[str, Any] = {
    "task": "mlq.predict",
    "args": [],
    "kwargs": {},
    "options": {},
    "subtask_type": None,
    "immutable": False,
}


def followed_by(**options: Any) -> bytes:
    """Return a body with a link that has these options."""
    link = {**LINK, "options": {"queue": "realtime", **options}}
    return json.dumps([[1], {}, {"callbacks": [link], "errbacks": None, "chain": None, "chord": None}]).encode()


HOSTILE = {
    "retries of 10 to the 18th": put("headers.retries", 10**18),
    "retries of 400 digits": put("headers.retries", 10**400),
    "less than no retries": put("headers.retries", -5),
    "a limit of NaN": put("headers.timelimit", [math.nan, math.nan]),
    "a limit of infinity": put("headers.timelimit", [math.inf, None]),
    "a limit of 400 digits": put("headers.timelimit", [10**400, None]),
    "less than no limit": put("headers.timelimit", [-1, -1]),
    "one limit": put("headers.timelimit", [5]),
    "three limits": put("headers.timelimit", [5, 5, 5]),
    "a limit that is a text": put("headers.timelimit", "soon"),
    "limits that are texts": put("headers.timelimit", ["5", "4"]),
    "limits that are an object": put("headers.timelimit", {"0": 1, "1": 2}),
    "expired long ago": put("headers.expires", "0001-01-01T00:00:00+00:00"),
    "expires at the end of time": put("headers.expires", "9999-12-31T23:59:59-23:59"),
    "expires before time": put("headers.expires", "0001-01-01T00:00:00+23:59"),
    "expires at a number": put("headers.expires", 1e300),
    "expires at NaN": put("headers.expires", math.nan),
    "expires at a list": put("headers.expires", ["2030-01-01"]),
    "an eta of NaN": put("headers.eta", math.nan),
    "an eta of 400 digits": put("headers.eta", 10**400),
    "an eta before time": put("headers.eta", "0001-01-01T00:00:00+23:59"),
    "an eta that is a list": put("headers.eta", [1]),
    "sent in 400 digits": put("headers.mlq_sent_at", 10**400),
    "rows without number": put("headers.mlq_rows", math.nan),
    "less than no rows": put("headers.mlq_rows", -(10**18)),
    "rows of 10 to the 18th": put("headers.mlq_rows", 10**18),
    "a priority of infinity": put("properties.priority", math.inf),
    "a priority of 400 digits": put("properties.priority", 10**400),
    "a priority that is a list": put("properties.priority", [9]),
    "delivered with numbers": put("properties.delivery_info", {"exchange": 5, "routing_key": 10**30, "priority": [1]}),
    "a group's member without number": put("headers.group_index", math.nan),
    "a group's member of 400 digits": put("headers.group_index", 10**400),
    "a nesting of 400 digits": put("headers.replaced_task_nesting", 10**400),
    "followed in 400 digits of seconds": body(followed_by(countdown=10**400)),
    "followed after NaN": body(followed_by(countdown=math.nan)),
    "followed at infinity": body(followed_by(countdown=math.inf)),
    "followed after 10 to the 18th": body(followed_by(countdown=10**18)),
    "followed with an expiry of NaN": body(followed_by(expires=math.nan)),
    "followed with a limit of a text": body(followed_by(time_limit="soon", soft_time_limit=[1])),
    "followed with a priority of 400 digits": body(followed_by(priority=10**400)),
    "followed with 400 digits of retries": body(followed_by(retries=10**400)),
}


@pytest.fixture
def redis(broker: str) -> Iterator[Redis]:
    """Return a client of the workers' server."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=30) as client:
        yield client


@pytest.fixture(params=POOLS)
def start_worker(request: pytest.FixtureRequest, user: User, start: Start) -> Callable[..., Any]:
    """Return a function that starts one worker with tasks of the user."""
    user.write("numbers_own.py", TASKS)
    return lambda **environment: start(*POOLS[request.param], MLQ_WORKER_IMPORTS="numbers_own", **environment)


@pytest.mark.timeout(300)
def test_a_number_in_a_message_harms_only_that_message(
    user: User, client: Celery, start_worker: Callable[..., Any], redis: Redis
) -> None:
    """Each message is answered, fails, or is a dead letter; afterwards the same worker is free."""
    start_worker()
    (before,) = user.json("worker")["workers"]
    sent = {name: spoiled(change, name.replace(" ", "-")) for name, change in HOSTILE.items()}
    sent["a pause that grows"] = spoiled(put("headers.retries", 10**18), "a-pause-that-grows", "own.again")
    redis.rpush("celery", *sent.values())
    assert user.json("queues")["queues"]

    def left() -> list[str]:
        ids = {name: name.replace(" ", "-") for name in sent}
        return [n for n, i in ids.items() if client.AsyncResult(i).state not in {"SUCCESS", "FAILURE", "REVOKED"}]

    try:
        user.until(lambda: not left(), "all have ended", within_s=40)
    except AssertionError:
        assert left() == []
    assert client.send_task("mlq.predict", [5]).get(timeout=60)["row"] == 5
    (after,) = user.json("worker")["workers"]
    assert (after["pid"], after["restarts"]) == (before["pid"], 0)


@pytest.mark.timeout(300)
def test_a_time_limit_in_a_message_cannot_end_the_workers(
    user: User, client: Celery, start_worker: Callable[..., Any]
) -> None:
    """Twelve limits of a microsecond did. Now such a limit is at least one second, which is enough for most tasks."""
    workers = start_worker()
    (before,) = user.json("worker")["workers"]
    limits: Any = {"time_limit": 1e-6, "soft_time_limit": 1e-6}
    tasks = [client.send_task("own.rests", [0.05], queue="default", **limits) for _ in range(25)]
    assert [task.get(timeout=60) for task in tasks] == [0.05] * 25
    (after,) = user.json("worker")["workers"]
    assert (after["pid"], after["restarts"]) == (before["pid"], 0)
    assert workers.process.poll() is None


@pytest.mark.timeout(300)
def test_time_limits_in_messages_can_be_ignored(user: User, client: Celery, start_worker: Callable[..., Any]) -> None:
    """This setting is for operators who do not trust clients with limits."""
    start_worker(MLQ_WORKER_MESSAGE_TIME_LIMITS="ignore", MLQ_WORKER_MIN_TIME_LIMIT="0.1")
    (before,) = user.json("worker")["workers"]
    limits: Any = {"time_limit": 0.2, "soft_time_limit": 0.1}
    task = client.send_task("own.rests", [1.5], queue="default", **limits)
    assert task.get(timeout=60) == 1.5
    (after,) = user.json("worker")["workers"]
    assert (after["pid"], after["restarts"]) == (before["pid"], 0)
