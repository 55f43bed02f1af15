"""The content of a message stays out of the logs: its rows, its arguments and its results.

The text of an exception of the model or of a task is logged, because its author needs it to fix the error.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from tests.conftest import Start, User

CANARY = "canary-5f0d1c"


def send_everything(client: Celery) -> list[Any]:
    """Send messages of every kind that contain the canary; the last two are answered after the others."""
    secret = {"name": CANARY}
    client.send_task("mlq.predict", [secret])
    client.send_task("mlq.predict", [{"fail": "the row is broken", **secret}])
    client.send_task("mlq.batch_predict", [[secret, {"fail": "one row of many", **secret}]])
    client.send_task("mlq.predict", [{"fail": "a row that Celery runs", **secret}], expires=600)
    client.send_task("mlq.predict", [CANARY, CANARY])
    client.send_task("mlq.batch_predict", [CANARY])
    client.send_task("own.note", [CANARY])
    client.send_task("own.fails_over", [CANARY], {"also": CANARY})
    client.send_task("own.retries", [CANARY])
    client.send_task("own.add", [CANARY])
    client.send_task("nobody.knows", [CANARY], {"also": CANARY})
    client.send_task("own.note", [{"__type__": "nobody.knows", "__value__": CANARY}])
    with client.producer_pool.acquire() as producer:
        producer.publish({"no": "task", "name": CANARY}, routing_key="batch", exchange="", serializer="json")
    # The default queue of Celery's clients is served last.
    return [client.send_task("own.add", [1, 2], queue="celery"), client.send_task("mlq.predict", [9], queue="celery")]


OWN = """
from celery import shared_task

@shared_task(name="own.fails_over")
def fails_over(secret, also):
    raise ValueError("the task is broken")

@shared_task(name="own.retries", bind=True)
def retries(self, secret):
    if not self.request.retries:
        raise self.retry(exc=ValueError("another time"), countdown=0)
"""


@pytest.mark.parametrize(
    "pool", [["--cpus", "1"], ["--pool", "prefork", "--concurrency", "1"]], ids=["solo", "prefork"]
)
def test_no_payload_is_ever_logged(
    user: User, client: Celery, ran: Callable[[], list[str]], start: Start, pool: list[str]
) -> None:
    """Not with --verbose, which logs each task, and not when a worker dies with a message in hand."""
    user.write("broken.py", OWN)
    workers = start(*pool, "--verbose", MLQ_WORKER_IMPORTS="own_tasks,broken")
    for task in send_everything(client):
        task.get(timeout=60)
    gate = str(user.directory / "gate")
    client.send_task("mlq.predict", [{"wait_for": gate, "name": CANARY}])
    log = user.directory / "model.log"
    user.until(lambda: gate in log.read_text(), "the last one runs")
    os.kill(int(log.read_text().split()[-1]), signal.SIGKILL)
    workers.wait_for("again" if "--cpus" in pool else "WorkerLostError")
    user.write("gate", "")
    assert client.send_task("mlq.predict", ["after"]).get(timeout=60)["row"] == "after"
    workers.end()
    assert any(CANARY in line for line in ran()), "the canary was there to be logged"
    assert CANARY in log.read_text()
    files = [path.read_text() for path in user.state.rglob("*.log*")]
    logged = "\n".join([*workers.lines, *files])
    assert [line for line in logged.splitlines() if CANARY in line] == []
    for words in ("the task is broken", "the row is broken", "a row that Celery runs", "own.note["):
        assert all(words in text for text in ("\n".join(workers.lines), "\n".join(files))), f"{words!r} is logged"
