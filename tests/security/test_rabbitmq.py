"""The control mailbox on RabbitMQ, where Celery's own transport delivers the messages."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import amqp
import psutil
import pytest
from celery import Celery
from kombu import Connection

from chaos.stock_client import stock_client
from tests import rabbitmq
from tests.conftest import Start, User
from tests.rabbitmq import RabbitServer
from tests.security.mailbox import Stranger, answers, command

pytestmark = [
    pytest.mark.skipif(rabbitmq.missing() is not None, reason=str(rabbitmq.missing())),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitServer]:
    """Run one server for all tests of this file."""
    with rabbitmq.running() as server:
        yield server


@pytest.fixture
def client(user: User, node: RabbitServer, broker: str) -> Iterator[Celery]:
    """Let mlq use RabbitMQ, and return a stock client of it."""
    user.environment |= {"MLQ_BROKER_URL": node.url(), "MLQ_STATE_URL": broker, "MLQ_RESULT_BACKEND": broker}
    with stock_client(node.url(), broker) as app:
        yield app


def publish(url: str, *messages: amqp.Message) -> None:
    """Publish AMQP messages to the mailbox unchanged."""
    with Connection(url) as connection:
        channel: Any = connection.channel()
        for message in messages:
            channel.basic_publish(message, exchange="celery.pidbox")


def message(body: Any, headers: dict[str, Any] | None = None, content_type: str = "application/json") -> amqp.Message:
    """Return an AMQP message."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return amqp.Message(content, content_type=content_type, content_encoding="utf-8", application_headers=headers or {})


POOLS = {"solo": ("--cpus", "1"), "prefork": ("--pool", "prefork", "--concurrency", "1")}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_no_control_message_ends_or_fills_a_worker(
    user: User, client: Celery, node: RabbitServer, start: Start, pool: tuple[str, ...]
) -> None:
    """Neither a command nor an invalid message does; the same process answers the next one."""
    running = start(*pool)

    def hears() -> bool:
        return answers(client, "ping") == [{"ok": "pong"}]

    user.until(hears, "the mailbox is open")
    top = psutil.Process(running.process.pid)
    before = sum(p.memory_info().rss for p in [top, *top.children(recursive=True)])
    (first,) = user.json("worker")["workers"]
    bomb = zlib.compress(b'{"method": "ping", "padding": "' + b"0" * 300_000_000 + b'"}', 9)
    publish(
        node.url(),
        *[message(command("shutdown"))] * 8,
        message(bomb, {"compression": "application/x-gzip"}),
        message(command("ping", {"padding": "0" * 3_000_000})),
        message(b"[" * 500_000),
        message(b""),
        message([1]),
        message(command(5)),
        message(command("ping"), {"clock": "x"}),
        message(command("ping"), content_type="application/x-python-serialize"),
        message(command("ping", pattern="(.?){64}" * 8 + "x", matcher="pcre")),
        message(command("ping", reply_to={"exchange": "", "routing_key": "realtime"}, ticket="t")),
        message(command("revoke", {"task_id": "a" * 900_000})),
    )
    Stranger(node.url()).tell(command("rate_limit", {"task_name": "mlq.predict", "rate_limit": "nan/s"}))
    assert client.send_task("mlq.predict", [7], queue="realtime").get(timeout=60)["row"] == 7
    user.until(hears, "it answers a question")
    (worker,) = user.json("worker")["workers"]
    assert (worker["pid"], worker["restarts"]) == (first["pid"], 0)
    assert sum(p.memory_info().rss for p in [top, *top.children(recursive=True)]) - before < 50 * 2**20
    assert client.send_task("mlq.predict", [8], queue="realtime").get(timeout=60)["row"] == 8


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_no_task_message_ends_a_worker(
    user: User, client: Celery, node: RabbitServer, start: Start, pool: tuple[str, ...]
) -> None:
    """A message that cannot run is answered if its id can be read; the worker does not change."""
    start(*pool)
    (before,) = user.json("worker")["workers"]
    body = [[1], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    bad: list[dict[str, Any]] = [
        {"timelimit": ["5", "4"]},
        {"timelimit": [5]},
        {"retries": 10**18},
        {"expires": "9999-12-31T23:59:59-23:59"},
        {"eta": "tomorrow"},
        {"group_index": -1},
    ]
    valid_ids = [{"task": "mlq.predict", "id": f"bad-{n}", **headers} for n, headers in enumerate(bad)]
    bomb = zlib.compress(b'[["' + b"0" * 300_000_000 + b'"], {}, {}]', 9)
    with Connection(node.url()) as connection:
        channel: Any = connection.channel()
        for headers in (*valid_ids, {"task": "mlq.predict"}, {"task": 5, "id": "x"}, {"id": "y"}, {}):
            channel.basic_publish(message(body, headers), routing_key="default")
        bombing = {"task": "mlq.predict", "id": "bomb", "compression": "application/x-gzip"}
        channel.basic_publish(message(bomb, bombing), routing_key="default")
    for task_id in (*(headers["id"] for headers in valid_ids), "bomb"):
        user.until(lambda i=task_id: client.AsyncResult(i).state == "FAILURE", f"{task_id} has its failure")  # type: ignore[misc]
    assert client.send_task("mlq.predict", [7], queue="default").get(timeout=60)["row"] == 7
    (after,) = user.json("worker")["workers"]
    assert (after["pid"], after["restarts"]) == (before["pid"], 0)
