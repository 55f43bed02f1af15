"""No message runs code on RabbitMQ, where Celery's own consumer reads it, and none ends a worker."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from kombu import Connection

from chaos.stock_client import stock_client
from tests import rabbitmq
from tests.conftest import Start, User
from tests.rabbitmq import RabbitServer
from tests.security.test_no_code_by_message import hostile

pytestmark = [
    pytest.mark.skipif(rabbitmq.missing() is not None, reason=str(rabbitmq.missing())),
    pytest.mark.timeout(300),  # RabbitMQ starts in five seconds, or in a minute on a busy machine
]


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitServer]:
    """Run one server for all tests of this file, because its start takes seconds."""
    with rabbitmq.running() as server:
        yield server


@pytest.fixture
def rabbit(user: User, node: RabbitServer, broker: str) -> RabbitServer:
    """Let mlq use RabbitMQ; results and job records are in the embedded Redis."""
    user.environment |= {"MLQ_BROKER_URL": node.url(), "MLQ_STATE_URL": broker, "MLQ_RESULT_BACKEND": broker}
    return node


@pytest.mark.parametrize("pool", [[], ["--pool", "prefork", "--concurrency", "1"]], ids=["solo", "prefork"])
def test_only_registered_tasks_run(
    user: User, start: Start, rabbit: RabbitServer, broker: str, pool: list[str]
) -> None:
    """Each hostile message once: no file is created, the worker's process stays, and it answers the next message."""
    victim = user.directory / "pwned"
    running = start(*(pool or ["--cpus", "1"]))
    pids = running.pids()
    with Connection(rabbit.url()) as connection:
        producer = connection.Producer()
        for raw in hostile(victim):
            message = json.loads(raw)
            producer.publish(
                base64.b64decode(message["body"]),
                routing_key="realtime",
                headers=message["headers"],
                content_type=message["content-type"],
                content_encoding=message["content-encoding"],
                correlation_id=message["properties"]["correlation_id"],
            )
    with stock_client(rabbit.url(), broker) as client:
        assert client.send_task("mlq.predict", ["next"], queue="realtime").get(timeout=120)["row"] == "next"
    assert not victim.exists()
    assert running.pids() == pids, "\n".join(running.lines)
