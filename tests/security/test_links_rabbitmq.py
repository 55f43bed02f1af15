"""Links on RabbitMQ: a name that leads nowhere, or to control messages, fails only its own message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from celery import Celery

from chaos.stock_client import stock_client
from tests import rabbitmq
from tests.conftest import User

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(rabbitmq.missing() is not None, reason=str(rabbitmq.missing())),
    pytest.mark.timeout(300),  # RabbitMQ starts in five seconds, or in a minute on a busy machine
]

GET_S: Final = 60

TASKS: Final = """
from celery import shared_task

@shared_task(name="own.add")
def add(one, other):
    return one + other
"""

REFUSED: Final = (
    {"queue": "mlq:paused"},
    {"queue": "celery-task-meta-theirs"},
    {"queue": "amq.theirs"},
    {"exchange": "celery.pidbox", "routing_key": "theirs"},
    {"exchange": "", "routing_key": "cpu0@host.celery.pidbox", "exchange_type": "topic"},
)


@pytest.fixture
def client(user: User, broker: str) -> Iterator[Celery]:
    """Return a client of RabbitMQ, whose results are in the embedded Redis."""
    with rabbitmq.running() as server:
        user.environment |= {"MLQ_BROKER_URL": server.url(), "MLQ_STATE_URL": broker, "MLQ_RESULT_BACKEND": broker}
        with stock_client(server.url(), broker) as app:
            yield app


@pytest.mark.parametrize("how", [("--cpus", "1"), ("--pool", "prefork", "--concurrency", "1")])
def test_a_link_on_rabbitmq_fails_only_its_own_message(
    user: User, client: Celery, start: Any, how: tuple[str, ...]
) -> None:
    """The server closes a channel that publishes to a missing exchange. The link of the next message is still sent."""
    user.write("own.py", TASKS)
    start(*how, MLQ_WORKER_IMPORTS="own")

    def linked(**options: str) -> Any:
        link = client.signature("own.add", [1], options=options)
        return client.send_task("own.add", [1, 2], queue="default", link=link)

    for options in REFUSED:
        with pytest.raises(Exception, match="may not be sent to"):
            linked(**options).get(timeout=GET_S)
    with pytest.raises(Exception, match="404"):
        linked(exchange="missing", routing_key="theirs").get(timeout=GET_S)
    good = linked(queue="default")
    assert good.get(timeout=GET_S) == 3
    (child,) = good.children
    assert child.get(timeout=GET_S) == 4
