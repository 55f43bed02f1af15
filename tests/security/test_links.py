"""What a message makes a worker write goes to queues: links and their kin name the keys of mlq, kombu and Celery."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any, Final

import pytest
from celery import Celery, chain, chord
from kombu import Exchange
from redis import Redis

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]

GET_S: Final = 60
REFUSED: Final = "may not be sent to"

RESERVED: Final = (
    "mlq:paused",
    "mlq:cancelled",
    "mlq:job:theirs",
    "mlq:leases",
    "unacked",
    "unacked_index",
    "_kombu.binding.celery.pidbox",
    "celery-task-meta-theirs",
    "celery-taskset-meta-theirs.j",
)

TASKS: Final = """
from celery import shared_task

@shared_task(name="own.add")
def add(one, other):
    return one + other

@shared_task(name="own.fails")
def fails():
    raise ValueError("as asked")

@shared_task(name="own.twice", bind=True)
def twice(self, *args):
    if not self.request.retries:
        raise self.retry(countdown=0)
    return "again"
"""


@pytest.fixture(params=["engine", "prefork"])
def workers(request: pytest.FixtureRequest, house: Any, start: Any, broker: str) -> Any:
    """Start one worker, of either kind, that knows the tasks above."""
    assert broker
    house.write("own.py", TASKS)
    how = ("--cpus", "1") if request.param == "engine" else ("--pool", "prefork", "--concurrency", "1")
    return start(*how, MLQ_WORKER_IMPORTS="own")


@pytest.fixture
def redis(broker: str) -> Iterator[Redis]:
    """Look into the broker."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=10) as client:
        yield client


def forged(task: str, *args: Any, **delivery_info: str) -> tuple[str, bytes]:
    """Write a message that lies about where it came from."""
    name = str(uuid.uuid4())
    headers = {"lang": "py", "task": task, "id": name, "root_id": name, "parent_id": None, "group": None, "retries": 0}
    follows = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    properties = {
        "correlation_id": name,
        "reply_to": "mlq:paused",
        "delivery_mode": 2,
        "delivery_info": delivery_info,
        "priority": 0,
        "delivery_tag": str(uuid.uuid4()),
        "body_encoding": None,
    }
    told = {"headers": headers, "body": json.dumps([args, {}, follows]), "properties": properties}
    return name, json.dumps({**told, "content-type": "application/json", "content-encoding": "utf-8"}).encode()


def unharmed(house: Any, client: Celery, redis: Redis) -> None:
    """See that no reserved key holds what a message asked for, that commands work, and the next one is answered."""
    assert client.send_task("own.add", [1, 2], queue="default").get(timeout=GET_S) == 3
    for name in RESERVED:
        assert redis.type(name) != b"list", name
    assert not redis.exists("_kombu.binding.mlq:paused")
    for command in (("queues",), ("queues", "pause", "batch"), ("queues", "resume", "batch")):
        done = house.run(*command)
        assert done.returncode == 0, done.stderr


def test_what_a_task_leads_to_is_not_written_to_a_key(house: Any, client: Celery, redis: Redis, workers: Any) -> None:
    """One such message would stop every worker: mlq:paused would be a list. Its client hears what was wrong with it."""
    assert workers
    options: list[dict[str, Any]] = [{"queue": name} for name in RESERVED]
    options += [{"exchange": "", "routing_key": "mlq:paused", "exchange_type": "topic"}, {"routing_key": "mlq:paused"}]
    options += [{"exchange": "celery.pidbox"}, {"exchange": "mlq:paused", "routing_key": "mlq:paused"}]
    sent = [
        client.send_task("own.add", [1, 2], queue="default", link=client.signature("own.add", [1], options=named))
        for named in options
    ]
    for result in sent:
        with pytest.raises(Exception, match=REFUSED):
            result.get(timeout=GET_S)
    unharmed(house, client, redis)


def test_no_other_way_to_ask_for_it_is_open(house: Any, client: Celery, redis: Redis, workers: Any) -> None:
    """A chain, a chord's body, an errback: each message fails by itself."""
    assert workers
    paused = {"queue": "mlq:paused"}
    first, then = (client.signature("own.add", [1, 2], queue="default") for _ in range(2))
    chained: Any = chain(first, client.signature("own.add", [1], options=paused)).apply_async()
    with pytest.raises(Exception, match=REFUSED):
        chained.parent.get(timeout=GET_S)
    body = client.signature("own.add", [1], options=paused)
    with pytest.raises(Exception, match=REFUSED):
        chord([first, then])(body).get(timeout=GET_S)
    errback = client.signature("own.add", [1], options=paused)
    with pytest.raises(ValueError, match="as asked"):
        client.send_task("own.fails", queue="default", link_error=errback).get(timeout=GET_S)
    unharmed(house, client, redis)


def test_a_message_does_not_say_where_it_came_from(house: Any, client: Celery, redis: Redis, workers: Any) -> None:
    """A retry goes to where the message came from: that is the queue, whatever its sender wrote."""
    assert workers
    for told in (
        {"exchange": "", "routing_key": "mlq:paused"},
        {"exchange": "celery.pidbox", "routing_key": "default"},
    ):
        name, raw = forged("own.twice", **told)
        redis.lpush("default", raw)
        assert client.AsyncResult(name).get(timeout=GET_S) == "again"
    unharmed(house, client, redis)


def test_a_table_of_bindings_leads_to_no_key(house: Any, client: Celery, redis: Redis, workers: Any) -> None:
    """Clients declare their queues, so they may write these tables."""
    assert workers
    redis.sadd("_kombu.binding.theirs", "theirs\x06\x16\x06\x16mlq:paused")
    to = client.signature("own.add", [1], options={"exchange": "theirs", "routing_key": "theirs"})
    with pytest.raises(Exception, match="nothing may be sent to 'mlq:paused'"):
        client.send_task("own.add", [1, 2], queue="default", link=to).get(timeout=GET_S)
    unharmed(house, client, redis)


def test_the_reply_to_a_control_message_goes_to_a_queue(house: Any, client: Celery, redis: Redis, workers: Any) -> None:
    """An idle worker replies itself, a busy one's supervisor does: to where the message says."""
    assert workers
    house.until(lambda: client.control.ping(timeout=1), "the worker listens")
    gate = house.directory / "gate"
    order: dict[str, Any] = {"method": "ping", "arguments": {}, "destination": None, "ticket": "theirs"}
    to = {"exchange": "", "routing_key": "mlq:paused"}

    def ask() -> None:
        with client.producer_pool.acquire(block=True) as producer:
            mailbox = Exchange("celery.pidbox", type="fanout", durable=False)
            told = {**order, "reply_to": to}
            producer.publish(told, exchange=mailbox, routing_key="", headers={"clock": 1}, declare=[mailbox])

    ask()
    assert client.control.ping(timeout=5)
    busy = client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="default")
    house.until(lambda: house.json("worker")["workers"][0]["state"] == "busy", "it is busy")
    ask()
    assert client.control.ping(timeout=5)
    gate.touch()
    busy.get(timeout=GET_S)
    unharmed(house, client, redis)


def test_what_a_stock_worker_left_goes_back_to_queues_only(
    house: Any, client: Celery, redis: Redis, start: Any
) -> None:
    """A message in `unacked` tells where it came from, in its sender's words; what lies behind it is restored."""
    _, evil = forged("own.add", 1, 2, exchange="", routing_key="mlq:paused")
    good, raw = forged("own.add", 3, 4, exchange="", routing_key="default")
    for age, (message, key) in enumerate([(evil, "mlq:paused"), (raw, "default")]):
        redis.hset("unacked", f"tag{age}", json.dumps([json.loads(message), "", key]))
        redis.zadd("unacked_index", {f"tag{age}": 1000 - age})
    house.write("own.py", TASKS)
    start("--cpus", "1", MLQ_WORKER_IMPORTS="own")
    assert client.AsyncResult(good).get(timeout=GET_S) == 7
    house.until(lambda: not redis.exists("unacked"), "nothing is left")
    unharmed(house, client, redis)
