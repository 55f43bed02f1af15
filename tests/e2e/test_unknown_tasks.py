"""Another application's queue is not moved to the dead letters by a worker that lacks its tasks."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from tests.conftest import House, Start

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
    """Send messages of these tasks by turns."""
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
    house: House, client: Celery, inside: Redis, argv: list[str]
) -> None:
    """Exit 3 with the names of the tasks; every message stays where it is."""
    send(client, "shop.pay", "shop.mail", "shop.\x1b[2J")
    done = house.run(*argv, "--model", "serve.py:Model")
    assert done.returncode == 3, done.stderr
    assert "this worker does not know the tasks of most of the oldest messages in queue 'celery'" in done.stderr
    assert "'shop.pay'" in done.stderr
    assert "\x1b" not in done.stderr
    assert "--take-unknown" in done.stderr
    assert inside.llen("celery") == 30
    assert not inside.exists("mlq:dead")


def test_a_worker_that_knows_the_tasks_starts(house: House, start: Start, client: Celery) -> None:
    """What worker.imports brings is known, before anything is taken; so are aliases, and a minority is no reason."""
    house.write("shop.py", TASKS)
    send(client, "shop.pay", "shop.mail")
    send(client, "their.predict", queue="realtime", times=3)
    send(client, "mlq.predict", "mlq.predict", "no.such", queue="batch")
    aliases = '{"their.predict": "mlq.predict"}'
    start("--cpus", "1", MLQ_WORKER_IMPORTS="shop", MLQ_ALIASES=aliases)
    assert client.send_task("shop.pay", [7], queue="realtime").get(timeout=30) == 7


def test_take_unknown_starts_and_warns_once(house: House, start: Start, client: Celery, inside: Redis) -> None:
    """They become dead letters, as from any worker that met them later."""
    send(client, "shop.pay")
    workers = start("--cpus", "1", "--take-unknown")
    house.until(lambda: inside.zcard("mlq:dead") == 30, "all are dead letters")
    assert client.send_task("mlq.predict", [1], queue="realtime").get(timeout=30)["row"] == 1
    assert sum("no task of this name is known here" in line for line in workers.lines) == 1


def test_a_restart_is_not_prevented_by_what_a_client_sends(
    house: House, start: Start, client: Celery, inside: Redis
) -> None:
    """Nor is the start of a worker by an autoscaler: both have no operator who would see the error."""
    workers = start("--cpus", "1")
    gate = house.directory / "gate"
    held = client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime")
    log = Path(house.environment["MODEL_LOG"])
    house.until(lambda: log.exists() and "wait_for" in log.read_text(), "it runs")
    send(client, "shop.pay")
    os.kill(workers.pids()["cpu0"], signal.SIGKILL)
    workers.wait_for("ready after", times=2)
    gate.touch()
    assert held.get(timeout=30)["row"] == {"wait_for": str(gate)}
    house.until(lambda: inside.zcard("mlq:dead") == 30, "all are dead letters")
    assert workers.end() == 0
    send(client, "shop.pay")
    scaler = house.command("autoscale", "--cpus", "1", "--min", "1", "--model", "serve.py:Model")
    try:
        scaler.wait_for("ready after")
    finally:
        assert scaler.end() == 0
