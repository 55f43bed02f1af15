"""Records of other processes: an invalid value ends no thread and no command, and hides no other record."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from mlq.protocol import keys
from mlq.store.workers import heartbeats
from tests.conftest import Start, User
from tests.security.mailbox import Stranger, command

pytestmark = pytest.mark.server


@pytest.fixture
def broker_redis(broker: str) -> Iterator[Redis]:
    """Return a client that writes to the embedded broker as another process might."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=10) as redis:
        yield redis


BAD_ORDERS = [
    b"",
    b"\xff",
    b"7",
    b"[]",
    b"[" * 2000,
    b"{}",
    b'{"word": "explode"}',
    b'{"word": ["stop"]}',
    b'{"word": "stop", "seconds": "soon"}',
    b'{"word": "stop", "seconds": -1}',
    b'{"word": "stop", "seconds": 1e300}',
    b'{"word": "stop", "seconds": true}',
]


def test_an_invalid_order_is_skipped_and_the_next_is_carried_out(
    user: User, start: Start, client: Celery, broker_redis: Redis
) -> None:
    """The thread that reads orders also sends the heartbeats. Without it workers are neither listed nor reachable."""
    workers = start("--cpus", "2", ready=2)
    one, other = sorted(heartbeats.read(broker_redis), key=lambda h: h.name)
    for value in BAD_ORDERS:
        broker_redis.hset(keys.ORDERS, one.id, value)
        assert heartbeats.beat(broker_redis, [one]) == {}, value
    workers.wait_for("the order to")
    assert user.run("worker", "drain", other.name).returncode == 0
    broker_redis.hset(keys.ORDERS, one.id, b'{"word": "restart", "seconds": 0, "later": [1]}')
    workers.wait_for("ready after", times=3)
    assert client.send_task("mlq.predict", [1], queue="realtime").get(timeout=60)["row"] == 1
    assert sum("the order to" in line for line in workers.lines) == 1


def test_an_invalid_heartbeat_hides_no_worker(user: User, start: Start, broker_redis: Redis) -> None:
    """Any process may have written it, and an operator then needs `mlq worker`."""
    start("--cpus", "1")
    (true,) = heartbeats.read(broker_redis)
    valid = json.loads(broker_redis.get(keys.heartbeat(true.id)) or b"")
    bad: list[Any] = [b"", b"\xff", b"7", b"[" * 2000, b"{}"]
    fields: dict[str, Any] = {
        "name": None,
        "queues": 5,
        "state": ["idle"],
        "rss_bytes": "much",
        "started_at": "1e400",
        "rate_limits": [1],
        "clock_skew_s": {"a": 1},
        "done": {"a": "b"},
    }
    bad += [json.dumps({**valid, name: value}).encode() for name, value in fields.items()]
    bad.append(json.dumps({**valid, "since": float("nan")}).encode())
    bad.append(json.dumps({**valid, "rows_done": 10**400}).encode())
    for n, value in enumerate(bad):
        broker_redis.sadd(keys.WORKERS, f"stranger-{n}")
        broker_redis.set(keys.heartbeat(f"stranger-{n}"), value, ex=60)
    broker_redis.sadd(keys.WORKERS, b"\xff\xfe")
    broker_redis.sadd(keys.WORKERS, "a-list")
    broker_redis.lpush(keys.heartbeat("a-list"), "x")
    for argv in (("worker",), ("queues",)):
        done = user.run(*argv)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert [w["name"] for w in user.json("worker")["workers"]] == [true.name]


def test_an_invalid_lease_lets_no_other_lease_expire(
    user: User, start: Start, client: Celery, broker_redis: Redis
) -> None:
    """The thread that renews leases also reads those of other processes."""
    start("--cpus", "1")
    (true,) = heartbeats.read(broker_redis)
    strangers: Any = {b"\xff\xfe": 1, b"endless": float("-inf")}
    broker_redis.zadd(keys.LEASES, strangers)
    lease = broker_redis.zscore(keys.LEASES, true.id)
    user.until(
        lambda: float(broker_redis.zscore(keys.LEASES, true.id) or 0) > float(lease or 0), "its lease is renewed"
    )
    assert client.send_task("mlq.predict", [1], queue="realtime").get(timeout=60)["row"] == 1
    assert [(w["pid"], w["restarts"]) for w in user.json("worker")["workers"]] == [(true.pid, 0)]


def test_no_id_and_no_exception_forges_a_line_of_a_log(user: User, start: Start, client: Celery, broker: str) -> None:
    """Texts of a client are escaped in the log file, like on a terminal, and cut before a line break."""
    workers = start("--cpus", "1")
    forged = "2026-01-01T00:00:00Z ERROR forged"
    evil = f"a\r\n{forged}\x1b[2J\u2028{forged}"
    ids = [f"{n}\n{forged} {'x' * 400}" for n in range(200)]
    Stranger(broker).tell(command("revoke", {"task_id": [evil, *ids]}), command(f"x\n{forged}"))
    failing = client.send_task("mlq.predict", [{"fail": evil + "y" * 40_000 + forged}], queue="realtime")
    with pytest.raises(Exception, match="forged"):
        failing.get(timeout=60)
    workers.wait_for("Traceback")
    os.kill(workers.process.pid, signal.SIGTERM)
    workers.process.wait(60)
    lines = (user.state / "logs" / "cpu0.log").read_bytes().split(b"\n")
    assert not any(b"\x1b" in line or b"\r" in line for line in lines)
    texts = [line.split(b" ", 1)[1] for line in lines if line]
    assert not any(line.startswith(forged.encode()) for line in texts)
    assert max(map(len, texts)) < 5000
