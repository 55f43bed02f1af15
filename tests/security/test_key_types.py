"""A key of another type than mlq's stops no worker, and every command names the key and its repair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from mlq.protocol import keys, reserved_names

pytestmark = pytest.mark.server

GET_S = 60


@pytest.fixture
def redis(broker: str) -> Iterator[Redis]:
    """Return a client of the broker."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=10) as client:
        yield client


def put(redis: Redis, key: str) -> None:
    """Write a key of another type, as an operator's script might."""
    redis.delete(key)
    if key == keys.PAUSED:
        redis.lpush(key, "what was pushed there")
    else:
        redis.set(key, "what was set there")


@pytest.mark.parametrize("key", [keys.PAUSED, keys.CRASHES, keys.WATCHES, keys.DELAYS, "realtime"])
def test_workers_go_on_without_a_key_and_say_what_repairs_it(
    client: Celery, redis: Redis, start: Any, key: str
) -> None:
    """Before, each claim on every host failed, and workers looked idle until an operator found the key."""
    workers = start("--cpus", "1")
    put(redis, key)
    assert client.send_task("mlq.predict", [1], queue="default").get(timeout=GET_S)["row"] == 1
    if key in {keys.PAUSED, "realtime"}:
        workers.wait_for(f"redis-cli DEL {key}")
        redis.delete(key)
        workers.wait_for("is repaired")
    assert client.send_task("mlq.predict", [2], queue="realtime").get(timeout=GET_S)["row"] == 2


def test_a_start_that_finds_such_a_key_says_so_and_serves_once_it_is_repaired(
    user: Any, client: Celery, redis: Redis
) -> None:
    """No worker can run without the key of the leases."""
    redis.set(keys.LEASES, "what was set there")
    workers = user.command("worker", "start", "--cpus", "1", "--model", "serve.py:Model")
    try:
        workers.wait_for(f"the key '{keys.LEASES}'")
        workers.wait_for(f"redis-cli DEL {keys.LEASES}")
        redis.delete(keys.LEASES)
        assert client.send_task("mlq.predict", [1], queue="default").get(timeout=GET_S)["row"] == 1
    finally:
        workers.end()


@pytest.mark.parametrize("command", [("queues",), ("queues", "pause", "batch"), ("queues", "resume", "batch")])
def test_a_command_names_the_key_its_type_and_the_repair(user: Any, redis: Redis, command: tuple[str, ...]) -> None:
    """Redis only says WRONGTYPE, without the key."""
    put(redis, keys.PAUSED)
    done = user.run(*command)
    assert done.returncode == 4
    assert "the key 'mlq:paused' is a list, where mlq keeps a set" in done.stderr
    assert "redis-cli DEL mlq:paused" in done.stderr


def test_both_lists_of_reserved_names_are_the_same() -> None:
    """Python refuses the names with an error, and the scripts refuse names that Python let through."""
    assert reserved_names.PREFIXES[0] == keys.PREFIX
    script = Path(reserved_names.__file__).parents[1] / "store" / "scripts" / "parts" / "queue.lua"
    assert "{ " + ", ".join(f"'{p}'" for p in reserved_names.PREFIXES) + " }" in script.read_text()
