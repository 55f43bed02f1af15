"""If the server refuses CLIENT TRACKING, an idle worker polls instead of waiting for the bell."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from celery import Celery
from redis import Redis

from chaos.stock_client import stock_client
from mlq.protocol import keys
from tests.conftest import Running, Start, User

RULES = "on nopass ~* &* +@all -@admin -@dangerous +info -client"  # Redis 6 cannot forbid a single subcommand
POLLS = 60
POLLS_IN_A_LOOK = 120  # polls of 3 s, after which the worker asks for work


@pytest.fixture
def url_without_tracking(redis: Redis, user: User) -> str:
    """Create a user with all rights that workers need except tracking, and return the URL for it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    redis.config_set("port", port)
    redis.execute_command("ACL", "SETUSER", "untracked", *RULES.split())  # type: ignore[no-untyped-call]
    user.environment["MLQ_BROKER_URL"] = f"redis://untracked:any@127.0.0.1:{port}/0"
    return user.environment["MLQ_BROKER_URL"]


@pytest.fixture
def client(url_without_tracking: str) -> Iterator[Celery]:
    """Return a stock client with the same rights."""
    with stock_client(url_without_tracking) as app:
        yield app


@pytest.fixture
def polling_worker(start: Start, url_without_tracking: str) -> Running:
    """Start a worker, and wait until it has found that it must poll."""
    assert url_without_tracking
    workers = start("--cpus", "1")
    workers.wait_for("no watching by tracking, asking every")
    return workers


def count_calls(redis: Redis, command: str) -> int:
    """Return how often a command was called."""
    stats = redis.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


def wait_for_polls(user: User, redis: Redis) -> None:
    """Wait until the idle worker has polled often; each poll reads the paused queues."""
    before = count_calls(redis, "smembers")
    user.until(lambda: count_calls(redis, "smembers") - before >= POLLS, "the worker polls")


@pytest.mark.usefixtures("polling_worker")
def test_messages_are_served_if_tracking_is_refused(user: User, client: Celery, redis: Redis) -> None:
    """This includes messages that arrive after a long idle time, on any queue."""
    for queue in ("realtime", "batch"):
        wait_for_polls(user, redis)
        task = client.send_task("mlq.predict", [queue], queue=queue)
        looked = count_calls(redis, "smembers")
        assert task.get(timeout=30)["row"] == queue
        assert count_calls(redis, "smembers") - looked < POLLS_IN_A_LOOK, (
            "it is found by the poll, not by a look each few seconds"
        )


def test_a_poll_ignores_a_paused_queue(user: User, client: Celery, redis: Redis, polling_worker: Running) -> None:
    """Its messages are no work. A worker that tried to claim them at each poll would never be idle."""
    assert user.run("queues", "pause", "batch").returncode == 0
    paused = client.send_task("mlq.predict", ["later"], queue="batch")
    assert client.send_task("mlq.predict", ["now"], queue="realtime").get(timeout=30)["row"] == "now"
    scripts = count_calls(redis, "evalsha")
    wait_for_polls(user, redis)
    assert count_calls(redis, "evalsha") - scripts < POLLS / 3, "looking at what is paused it asks for no work"
    assert (redis.llen("batch"), redis.sismember(keys.PAUSED, "batch")) == (1, 1)
    assert user.run("queues", "resume", "batch").returncode == 0
    assert paused.get(timeout=30)["row"] == "later"
    assert sum("no watching by tracking" in line for line in polling_worker.lines) == 1, "it is logged once"
