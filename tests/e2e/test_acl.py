"""The broker's users in docs/brokers.md are enough for what each is for, and for no more."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import NoPermissionError

from benchmarks.stock_client import stock_client
from tests.conftest import House, Start

DOCS = Path(__file__).parents[2] / "docs" / "brokers.md"
USERS = re.findall(r"^ACL SETUSER (\S+) (.+)$", DOCS.read_text(), re.MULTILINE)


@pytest.fixture
def urls(redis: Redis) -> dict[str, str]:
    """Make the documented users on a server that listens for passwords, and for nobody without one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    redis.config_set("port", port)
    for name, rules in USERS:
        redis.execute_command("ACL", "SETUSER", name, *rules.split())  # type: ignore[no-untyped-call]
    passwords = {name: re.search(r">(\S+)", rules) for name, rules in USERS}
    return {name: f"redis://{name}:{found[1]}@127.0.0.1:{port}/0" for name, found in passwords.items() if found}


@pytest.fixture
def client(urls: dict[str, str]) -> Iterator[Celery]:
    """Make a stock client that may send and collect."""
    with stock_client(urls["client"]) as app:
        yield app


def test_the_documented_users_can_do_their_work_and_no_more(
    house: House, start: Start, urls: dict[str, str], client: Celery
) -> None:
    """The client neither sees what workers hold nor runs a script, by which it could."""
    house.environment["MLQ_BROKER_URL"] = urls["mlq"]
    start("--cpus", "1")
    assert client.send_task("mlq.predict", [1], queue="realtime").get(timeout=30)["row"] == 1
    rows = house.write("rows.json", [1, 2, 3])
    assert len(house.run("submit", str(rows), "--wait").stdout.splitlines()) == 3
    assert [q["name"] for q in house.json("queues")["queues"]] == ["realtime", "default", "batch"]
    assert [w["state"] for w in house.json("worker")["workers"]] == ["idle"]
    with Redis.from_url(urls["client"]) as stranger:
        for words in (("HGETALL", "mlq:claims:any"), ("EVAL", "return 1", "0"), ("FLUSHALL",)):
            with pytest.raises(NoPermissionError):
                stranger.execute_command(*words)
