"""Where the server refuses CLIENT TRACKING, an idle worker asks instead of being rung."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from celery import Celery
from redis import Redis

from chaos.stock_client import stock_client
from mlq.protocol import keys
from tests.conftest import House, Running, Start

RULES = "on nopass ~* &* +@all -@admin -@dangerous +info -client"  # Redis 6 can forbid no single subcommand
POLLS = 60
POLLS_IN_A_LOOK = 120  # 3 s of them: then the worker asks for work by itself


@pytest.fixture
def url(redis: Redis, house: House) -> str:
    """Make a user who may do all that workers need, but not track keys."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    redis.config_set("port", port)
    redis.execute_command("ACL", "SETUSER", "untracked", *RULES.split())  # type: ignore[no-untyped-call]
    house.environment["MLQ_BROKER_URL"] = f"redis://untracked:any@127.0.0.1:{port}/0"
    return house.environment["MLQ_BROKER_URL"]


@pytest.fixture
def client(url: str) -> Iterator[Celery]:
    """Make a stock client with the same rights."""
    with stock_client(url) as app:
        yield app


@pytest.fixture
def polling(start: Start, url: str) -> Running:
    """Start a worker that has found out that it has to poll."""
    assert url
    workers = start("--cpus", "1")
    workers.wait_for("no watching by tracking, asking every")
    return workers


def calls(redis: Redis, command: str) -> int:
    """Count how often a command was called."""
    stats = redis.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


def wait_for_polls(house: House, redis: Redis) -> None:
    """Wait until the idle worker has looked often: at what is paused, each time."""
    before = calls(redis, "smembers")
    house.until(lambda: calls(redis, "smembers") - before >= POLLS, "the worker polls")


@pytest.mark.usefixtures("polling")
def test_messages_are_served_where_tracking_is_refused(house: House, client: Celery, redis: Redis) -> None:
    """Also those that come while it polls: idle for long, it hears of the next one on any queue."""
    for queue in ("realtime", "batch"):
        wait_for_polls(house, redis)
        task = client.send_task("mlq.predict", [queue], queue=queue)
        looked = calls(redis, "smembers")
        assert task.get(timeout=30)["row"] == queue
        assert calls(redis, "smembers") - looked < POLLS_IN_A_LOOK, (
            "it is found by the poll, not by a look each few seconds"
        )


def test_a_poll_leaves_a_paused_queue_alone(house: House, client: Celery, redis: Redis, polling: Running) -> None:
    """What waits there is no work: a worker that asked for it at each look would never rest."""
    assert house.run("queues", "pause", "batch").returncode == 0
    paused = client.send_task("mlq.predict", ["later"], queue="batch")
    assert client.send_task("mlq.predict", ["now"], queue="realtime").get(timeout=30)["row"] == "now"
    scripts = calls(redis, "evalsha")
    wait_for_polls(house, redis)
    assert calls(redis, "evalsha") - scripts < POLLS / 3, "looking at what is paused it asks for no work"
    assert (redis.llen("batch"), redis.sismember(keys.PAUSED, "batch")) == (1, 1)
    assert house.run("queues", "resume", "batch").returncode == 0
    assert paused.get(timeout=30)["row"] == "later"
    assert sum("no watching by tracking" in line for line in polling.lines) == 1, "it is said once"
