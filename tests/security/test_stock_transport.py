"""Celery's own transport, which a prefork pool uses on Redis: no message in its queue ends the pool."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import psutil
import pytest
from celery import Celery
from redis import Redis

from chaos.reliability.corpus import ANSWERED, UNREADABLE, drop, put, spoiled, to_compressed
from tests.conftest import Start, User

POOLS = {"engine": ("--cpus", "1"), "prefork": ("--pool", "prefork", "--concurrency", "1")}


@pytest.fixture
def redis(broker: str) -> Iterator[Redis]:
    """Return a client of the workers' server."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=30) as client:
        yield client


@pytest.mark.timeout(180)
def test_no_message_ends_a_pool(user: User, client: Celery, start: Start, redis: Redis) -> None:
    """An error that cannot be sent to a client is logged; the worker does not change."""
    start("--pool", "prefork", "--concurrency", "1")
    (before,) = user.json("worker")["workers"]
    redis.rpush("celery", *[spoiled(change, "spoiled") for change, _ in [*ANSWERED.values(), *UNREADABLE.values()]])
    changes = [drop("headers.id"), put("headers.id", 5), put("headers", [1]), put("headers.task", None), put("body", 7)]
    redis.rpush("celery", *[spoiled(change, "spoiled") for change in changes])
    typed = b'{"__type__": "uuid", "__value__": {"hex": 5}}'
    redis.rpush("celery", b"{}", b"[]", b"7", b"null", b"\xff", b"[" * 100_000, typed)
    assert client.send_task("mlq.predict", [1]).get(timeout=90)["row"] == 1
    (after,) = user.json("worker")["workers"]
    assert (after["pid"], after["restarts"]) == (before["pid"], 0)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_a_compressed_body_cannot_exceed_the_maximum_message_size(
    user: User, client: Celery, start: Start, redis: Redis, pool: tuple[str, ...]
) -> None:
    """300 KB of zlib contain 300 MB; the client gets an error."""
    running = start(*pool)
    top = psutil.Process(running.process.pid)
    before = sum(p.memory_info().rss for p in [top, *top.children(recursive=True)])
    (worker,) = user.json("worker")["workers"]
    bomb = zlib.compress(b'[["' + b"0" * 300_000_000 + b'"], {}, {}]', 9)
    redis.lpush("celery", spoiled(to_compressed(bomb), "bomb"))
    user.until(lambda: client.AsyncResult("bomb").state == "FAILURE", "its client has the failure")
    assert sum(p.memory_info().rss for p in [top, *top.children(recursive=True)]) - before < 100 * 2**20
    assert client.send_task("mlq.predict", [1]).get(timeout=60)["row"] == 1
    assert [w["pid"] for w in user.json("worker")["workers"]] == [worker["pid"]]
