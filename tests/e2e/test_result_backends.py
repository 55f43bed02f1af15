"""A result backend that cannot be used is detected before a message is claimed, and never costs a message later."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from mlq.broker import embedded
from tests.conftest import Start, User


@pytest.fixture
def results(user: User) -> Iterator[embedded.Server]:
    """Return a server for results, which the test starts."""
    directory = user.directory / "results"
    server = embedded.Server(embedded.program(), directory)
    yield server
    server.stop()


def _client(server: embedded.Server) -> Redis:
    return Redis(unix_socket_path=server.url.removeprefix("redis+socket://"), socket_timeout=10)


def _waiting(user: User) -> tuple[int, int]:
    """Count the messages in realtime and the dead letters."""
    (queue,) = user.json("queues", "realtime")["queues"]
    return queue["ready"], len(user.json("dead")["entries"])


def _without(module: str, pool: list[str], url: str) -> Any:
    there = importlib.util.find_spec(module) is not None
    return pytest.param(pool, url, module, marks=pytest.mark.skipif(there, reason=f"{module} is installed"))


SOLO = ["--cpus", "1"]
POOL = ["--pool", "prefork", "--concurrency", "1"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("pool", "url", "said"),
    [
        _without("sqlalchemy", SOLO, "db+sqlite:///results.sqlite"),
        _without("sqlalchemy", POOL, "db+sqlite:///results.sqlite"),
        _without("pymongo", SOLO, "mongodb://127.0.0.1:1/results"),
        _without("elasticsearch", SOLO, "elasticsearch://127.0.0.1:1/results/task"),
        (SOLO, "file:///nonexistent/results", "path"),
        (POOL, "file:///nonexistent/results", "path"),
        (SOLO, "redis+socket://{broker}?virtual_host=99", "DB index is out of range"),
    ],
)
def test_an_unusable_backend_is_exit_3_before_a_message_is_claimed(
    user: User, client: Celery, broker: str, pool: list[str], url: str, said: str
) -> None:
    """The error has the reason and the setting; a stock worker ends at its start, too."""
    client.send_task("mlq.predict", ["row"], queue="realtime")
    user.environment["MLQ_RESULT_BACKEND"] = url.format(broker=broker.removeprefix("redis+socket://"))
    done = user.run("worker", "start", *pool, "--model", "serve.py:Model")
    assert done.returncode == 3, done.stderr
    assert "mlq: cannot store results in " in done.stderr
    assert "(from MLQ_RESULT_BACKEND)" in done.stderr
    assert said in done.stderr
    assert _waiting(user) == (1, 0)
    assert not Path(user.environment["MODEL_LOG"]).exists()


@pytest.mark.timeout(120)
def test_workers_wait_for_a_backend_that_is_away_without_claiming_messages(
    user: User, client: Celery, results: embedded.Server
) -> None:
    """Its server may start after the workers."""
    client.send_task("mlq.predict", ["row"], queue="realtime")
    user.environment["MLQ_RESULT_BACKEND"] = results.url
    workers = user.command("worker", "start", "--cpus", "1", "--model", "serve.py:Model")
    try:
        workers.wait_for("mlq: cannot reach the result backend at ", times=2)
        assert _waiting(user) == (1, 0)
        results.start()
        workers.wait_for("ready after")
        with _client(results) as redis:
            user.until(lambda: any(redis.scan_iter("celery-task-meta-*")), "it is answered")
    finally:
        workers.end()


def _forbid_setting(redis: Redis) -> None:
    redis.execute_command("ACL", "SETUSER", "default", "-set", "-setex")  # type: ignore[no-untyped-call]


def _close_channels(redis: Redis) -> None:
    redis.execute_command("ACL", "SETUSER", "default", "resetchannels")  # type: ignore[no-untyped-call]


def _hide_keys(redis: Redis) -> None:
    redis.execute_command("ACL", "SETUSER", "default", "resetkeys", "~nothing")  # type: ignore[no-untyped-call]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("spoil", [_forbid_setting, _close_channels, _hide_keys])
def test_a_backend_that_becomes_unusable_loses_no_message(
    user: User, client: Celery, start: Start, results: embedded.Server, spoil: Callable[[Redis], None]
) -> None:
    """Celery would acknowledge each message and log that its result is lost. The rows are not at fault."""
    results.start()
    workers = start("--cpus", "1", MLQ_RESULT_BACKEND=results.url)
    with _client(results) as redis:
        spoil(redis)
    for row in range(3):
        client.send_task("mlq.predict", [row], queue="realtime")
    assert workers.wait() == 3
    assert any("mlq: cannot store results in " in line for line in workers.lines)
    assert _waiting(user) == (3, 0)


@pytest.mark.timeout(180)
def test_a_right_that_is_lost_on_a_shared_server_loses_no_message(
    user: User, client: Celery, start: Start, broker_redis: Redis
) -> None:
    """Results are on the broker's server, so the answer and the end of the claim are one step.

    A refused message stays claimed, and goes back.
    """
    workers = start("--cpus", "1")
    broker_redis.execute_command("ACL", "SETUSER", "default", "-set")  # type: ignore[no-untyped-call]
    client.send_task("mlq.predict", ["row"], queue="realtime")
    assert workers.wait() == 3
    broker_redis.execute_command("ACL", "SETUSER", "default", "+set")  # type: ignore[no-untyped-call]
    assert _waiting(user) == (1, 0)
