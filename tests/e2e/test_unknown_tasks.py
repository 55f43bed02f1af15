"""A worker that lacks the tasks of another application's queue does not move its messages to the dead letters."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from tests.conftest import Start, User

TASKS = """
from celery import shared_task

@shared_task(name="shop.pay")
def pay(n):
    return n

@shared_task(name="shop.mail")
def mail(n):
    return n
"""


def send(client: Celery, *names: str, queue: str = "celery", times: int = 30) -> None:
    """Send messages of these tasks in turn."""
    for n in range(times):
        client.send_task(names[n % len(names)], [n], queue=queue)


@pytest.mark.parametrize(
    "argv",
    [
        ["worker", "start", "--cpus", "2"],
        ["worker", "start", "--cpus", "1", "--detach"],
        ["worker", "start", "--pool", "prefork", "--concurrency", "1"],
        ["up"],
    ],
)
def test_workers_do_not_start_on_a_queue_of_unknown_tasks(
    user: User, client: Celery, broker_redis: Redis, argv: list[str]
) -> None:
    """The exit code is 3, with the names of the tasks; every message stays in its queue."""
    send(client, "shop.pay", "shop.mail", "shop.\x1b[2J")
    done = user.run(*argv, "--model", "serve.py:Model")
    assert done.returncode == 3, done.stderr
    assert "this worker does not know the tasks of most of the oldest messages in queue 'celery'" in done.stderr
    assert "'shop.pay'" in done.stderr
    assert "\x1b" not in done.stderr
    assert "--take-unknown" in done.stderr
    assert broker_redis.llen("celery") == 30
    assert not broker_redis.exists("mlq:dead")


def test_a_worker_that_knows_the_tasks_starts(user: User, start: Start, client: Celery) -> None:
    """Tasks of worker.imports and aliases are known before a message is claimed.

    A minority of unknown tasks is accepted.
    """
    user.write("shop.py", TASKS)
    send(client, "shop.pay", "shop.mail")
    send(client, "their.predict", queue="realtime", times=3)
    send(client, "mlq.predict", "mlq.predict", "no.such", queue="batch")
    aliases = '{"their.predict": "mlq.predict"}'
    start("--cpus", "1", MLQ_WORKER_IMPORTS="shop", MLQ_ALIASES=aliases)
    assert client.send_task("shop.pay", [7], queue="realtime").get(timeout=30) == 7


def test_take_unknown_starts_and_warns_once(user: User, start: Start, client: Celery, broker_redis: Redis) -> None:
    """Unknown tasks become dead letters, as with any worker that meets them later."""
    send(client, "shop.pay")
    workers = start("--cpus", "1", "--take-unknown")
    user.until(lambda: broker_redis.zcard("mlq:dead") == 30, "all are dead letters")
    assert client.send_task("mlq.predict", [1], queue="realtime").get(timeout=30)["row"] == 1
    assert sum("no task of this name is known here" in line for line in workers.lines) == 1


def test_messages_of_a_client_do_not_prevent_a_restart(
    user: User, start: Start, client: Celery, broker_redis: Redis
) -> None:
    """They do not prevent a start by an autoscaler, either: in both cases no operator would see the error."""
    workers = start("--cpus", "1")
    gate = user.directory / "gate"
    held = client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime")
    log = Path(user.environment["MODEL_LOG"])
    user.until(lambda: log.exists() and "wait_for" in log.read_text(), "it runs")
    send(client, "shop.pay")
    os.kill(workers.pids()["cpu0"], signal.SIGKILL)
    workers.wait_for("ready after", times=2)
    gate.touch()
    assert held.get(timeout=30)["row"] == {"wait_for": str(gate)}
    user.until(lambda: broker_redis.zcard("mlq:dead") == 30, "all are dead letters")
    assert workers.end() == 0
    send(client, "shop.pay")
    scaler = user.command("autoscale", "--cpus", "1", "--min", "1", "--model", "serve.py:Model")
    try:
        scaler.wait_for("ready after")
    finally:
        assert scaler.end() == 0
