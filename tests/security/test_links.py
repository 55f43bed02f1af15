"""Messages that a task leads to go only to queues: a link and the like cannot name a key of mlq, kombu or Celery."""

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
def workers(request: pytest.FixtureRequest, user: Any, start: Any, broker: str) -> Any:
    """Start one worker of either kind that knows the tasks above."""
    assert broker
    user.write("own.py", TASKS)
    how = ("--cpus", "1") if request.param == "engine" else ("--pool", "prefork", "--concurrency", "1")
    return start(*how, MLQ_WORKER_IMPORTS="own")


@pytest.fixture
def redis(broker: str) -> Iterator[Redis]:
    """Return a client of the broker."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=10) as client:
        yield client


def forge_message(task: str, *args: Any, **delivery_info: str) -> tuple[str, bytes]:
    """Return a message with a false origin."""
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
    fields = {"headers": headers, "body": json.dumps([args, {}, follows]), "properties": properties}
    return name, json.dumps({**fields, "content-type": "application/json", "content-encoding": "utf-8"}).encode()


def check_unharmed(user: Any, client: Celery, redis: Redis) -> None:
    """Check that no reserved key was written, that commands work, and that the next message is answered."""
    assert client.send_task("own.add", [1, 2], queue="default").get(timeout=GET_S) == 3
    for name in RESERVED:
        assert redis.type(name) != b"list", name
    assert not redis.exists("_kombu.binding.mlq:paused")
    for command in (("queues",), ("queues", "pause", "batch"), ("queues", "resume", "batch")):
        done = user.run(*command)
        assert done.returncode == 0, done.stderr


def test_a_message_that_a_task_leads_to_is_not_written_to_a_key(
    user: Any, client: Celery, redis: Redis, workers: Any
) -> None:
    """If mlq:paused became a list, every worker would stop. The client gets an error that names the key."""
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
    check_unharmed(user, client, redis)


def test_chains_chords_and_errbacks_cannot_name_a_key_either(
    user: Any, client: Celery, redis: Redis, workers: Any
) -> None:
    """Only the message itself fails."""
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
    check_unharmed(user, client, redis)


def test_a_retry_ignores_the_origin_in_the_message(user: Any, client: Celery, redis: Redis, workers: Any) -> None:
    """A retry goes to the queue from which the message was claimed, not to the one that its sender wrote."""
    assert workers
    for fields in (
        {"exchange": "", "routing_key": "mlq:paused"},
        {"exchange": "celery.pidbox", "routing_key": "default"},
    ):
        name, raw = forge_message("own.twice", **fields)
        redis.lpush("default", raw)
        assert client.AsyncResult(name).get(timeout=GET_S) == "again"
    check_unharmed(user, client, redis)


def test_a_table_of_bindings_leads_to_no_key(user: Any, client: Celery, redis: Redis, workers: Any) -> None:
    """Clients declare their queues, so they may write these tables."""
    assert workers
    redis.sadd("_kombu.binding.theirs", "theirs\x06\x16\x06\x16mlq:paused")
    to = client.signature("own.add", [1], options={"exchange": "theirs", "routing_key": "theirs"})
    with pytest.raises(Exception, match="nothing may be sent to 'mlq:paused'"):
        client.send_task("own.add", [1, 2], queue="default", link=to).get(timeout=GET_S)
    check_unharmed(user, client, redis)


def test_the_reply_to_a_control_message_goes_to_a_queue(user: Any, client: Celery, redis: Redis, workers: Any) -> None:
    """An idle worker replies itself, a busy one's supervisor replies for it, to the address in the message."""
    assert workers
    user.until(lambda: client.control.ping(timeout=1), "the worker listens")
    gate = user.directory / "gate"
    order: dict[str, Any] = {"method": "ping", "arguments": {}, "destination": None, "ticket": "theirs"}
    to = {"exchange": "", "routing_key": "mlq:paused"}

    def ask() -> None:
        with client.producer_pool.acquire(block=True) as producer:
            mailbox = Exchange("celery.pidbox", type="fanout", durable=False)
            fields = {**order, "reply_to": to}
            producer.publish(fields, exchange=mailbox, routing_key="", headers={"clock": 1}, declare=[mailbox])

    ask()
    assert client.control.ping(timeout=5)
    busy = client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="default")
    user.until(lambda: user.json("worker")["workers"][0]["state"] == "busy", "it is busy")
    ask()
    assert client.control.ping(timeout=5)
    gate.touch()
    busy.get(timeout=GET_S)
    check_unharmed(user, client, redis)


def test_messages_that_a_stock_worker_left_go_back_only_to_queues(
    user: Any, client: Celery, redis: Redis, start: Any
) -> None:
    """A message in `unacked` has the origin that its sender wrote. The following messages are restored, too."""
    _, evil = forge_message("own.add", 1, 2, exchange="", routing_key="mlq:paused")
    good, raw = forge_message("own.add", 3, 4, exchange="", routing_key="default")
    for age, (message, key) in enumerate([(evil, "mlq:paused"), (raw, "default")]):
        redis.hset("unacked", f"tag{age}", json.dumps([json.loads(message), "", key]))
        redis.zadd("unacked_index", {f"tag{age}": 1000 - age})
    user.write("own.py", TASKS)
    start("--cpus", "1", MLQ_WORKER_IMPORTS="own")
    assert client.AsyncResult(good).get(timeout=GET_S) == 7
    user.until(lambda: not redis.exists("unacked"), "nothing is left")
    check_unharmed(user, client, redis)
