"""Celery's control mailbox: a client that may publish there can neither end, nor fill, nor block workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from celery import Celery
from redis import Redis

from tests.conftest import Running, Start, User
from tests.security.mailbox import Stranger, answers, command, frame

POOLS = {"engine": ("--cpus", "1"), "prefork": ("--pool", "prefork", "--concurrency", "1")}

REPLIES = {"exchange": "reply.celery.pidbox", "routing_key": "nobody"}


@pytest.fixture
def broker_redis(broker: str) -> Iterator[Redis]:
    """Return a client of the embedded broker."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=10) as redis:
        yield redis


@dataclass
class Fleet:
    """A supervisor with one worker, which the test attacks."""

    user: User
    client: Celery
    stranger: Stranger
    running: Running

    def pids(self) -> tuple[int, list[int]]:
        """Return the pids of the supervisor and its workers."""
        return self.running.process.pid, [w["pid"] for w in self.user.json("worker")["workers"]]

    def bytes(self) -> int:
        """Return the memory of the supervisor and all its child processes in bytes."""
        top = psutil.Process(self.running.process.pid)
        return sum(p.memory_info().rss for p in [top, *top.children(recursive=True)])

    def answers(self, row: Any = 1) -> bool:
        """Return whether a row is answered."""
        return bool(self.client.send_task("mlq.predict", [row], queue="realtime").get(timeout=60)["row"] == row)

    def hears(self) -> bool:
        """Return whether the worker answers a control message; it listens a moment after it is ready."""
        return answers(self.client, "ping") == [{"ok": "pong"}]


@pytest.fixture(params=POOLS)
def start_fleet(
    request: pytest.FixtureRequest, user: User, start: Start, client: Celery, broker: str
) -> Callable[..., Fleet]:
    """Return a function that starts a supervisor, with mlq's engine or with Celery's own pool."""

    def run(**environment: str) -> Fleet:
        fleet = Fleet(user, client, Stranger(broker), start(*POOLS[request.param], **environment))
        if environment.get("MLQ_CONTROLS") != "none":
            user.until(fleet.hears, "the mailbox is open")
        return fleet

    return run


def test_no_client_can_stop_or_resize_workers(start_fleet: Callable[..., Fleet]) -> None:
    """Each command that ends or resizes a worker is refused with an error, and the worker does not change."""
    fleet = start_fleet()
    before = fleet.pids()
    refused = ("shutdown", "pool_grow", "pool_shrink", "pool_restart", "autoscale", "time_limit", "election", "report")
    for method in refused:
        (reply,) = answers(fleet.client, method)
        assert "controls" in reply["error"], (method, reply)
    fleet.stranger.tell(*[command("shutdown")] * 12)
    assert fleet.answers()
    assert fleet.hears()
    assert fleet.pids() == before


def hostile_frames() -> list[bytes]:
    """Return frames that no client of Celery sends."""
    ask = command("ping")
    typed = {"__type__": "uuid", "__value__": {"hex": 5}}
    uncountable = {"__type__": "decimal", "__value__": "no number"}
    return [
        *(b"{}", b"[]", b"7", b'"text"', b"null", b"", b"\xff\xfe", b"[" * 500_000, b'{"body":' * 100_000),
        frame(ask, properties={}),
        frame(ask, properties=[1]),
        frame(ask, headers=[1]),
        frame(ask, headers={"clock": "x"}),
        frame(ask, headers={"clock": 10**4298}),
        frame(ask, headers={"compression": ["gzip"]}),
        frame(ask, headers={"compression": "gzip"}),
        frame(ask, body=5),
        frame(ask, body={"a": 1}),
        frame(ask, body=typed),
        frame(ask, body=uncountable),
        frame(ask, **{"content-type": "application/x-python-serialize"}),
        frame(ask, **{"content-encoding": ["utf-8"]}),
        frame(b"["),
        frame(b"[" * 300_000),
        frame([1, 2]),
        frame(command(5)),
        frame(command("ping", [1])),
        frame(command("no_such_command")),
        frame(command("revoke", {"state": 1})),
        frame(command("revoke", {"task_id": {"a": 1}, "terminate": {"b": 2}, "signal": "STOP"})),
        frame(command("rate_limit", {"task_name": ["x"], "rate_limit": "1/h"})),
        frame(command("rate_limit", {"task_name": "mlq.predict", "rate_limit": "nan/s"})),
        frame(command("rate_limit", {"task_name": "mlq.predict", "rate_limit": "-1/s"})),
        frame(command("rate_limit", {"task_name": "mlq.predict", "rate_limit": 10**400})),
        frame(command("ping", destination=7)),
        frame(command("ping", pattern="(.?){64}" * 8 + "x", matcher="pcre")),
        frame(command("ping", pattern="*a" * 120, matcher="glob")),
        frame(command("ping", reply_to=5, ticket={"a": 1})),
        frame(command("ping", reply_to={"exchange": "", "routing_key": "mlq:paused"}, ticket="t")),
        frame(command("active", reply_to={"exchange": "mlq:cancelled", "routing_key": "x"}, ticket="t")),
        frame(command("ping", reply_to=REPLIES, ticket="t" * 500_000)),
        frame(command("registered", {"taskinfoitems": ["name"] * 100_000})),
        frame(command("hello", {"from_node": "a@b", "revoked": [1, None, ["x"]]})),
        frame(command("hello", {"from_node": "a@b", "revoked": 5})),
        frame(command("revoke_by_stamped_headers", {"headers": ["a", "b=c=d", 5]})),
        frame(command("revoke_by_stamped_headers", {"headers": {"a": [1, {"b": 2}]}})),
    ]


def test_no_frame_ends_a_worker_or_changes_its_clock(start_fleet: Callable[..., Fleet], broker_redis: Redis) -> None:
    """After each frame the same process answers the next control message, and no key is written."""
    fleet = start_fleet()
    before = fleet.pids()
    for each in hostile_frames():
        fleet.stranger.publish(each)
    assert fleet.answers()
    fleet.user.until(fleet.hears, "it answers a question")
    assert fleet.pids() == before
    assert (broker_redis.exists("mlq:paused"), broker_redis.exists("mlq:cancelled")) == (0, 0)
    (clock,) = answers(fleet.client, "clock")
    assert clock["clock"] < 10**6


def test_the_supervisor_of_a_busy_worker_survives_the_same_frames(
    start_fleet: Callable[..., Fleet], broker_redis: Redis
) -> None:
    """It listens for its busy worker, so it gets all these frames, too."""
    fleet = start_fleet()
    before = fleet.pids()
    gate = fleet.user.directory / "gate"
    task = fleet.client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime")
    fleet.user.until(lambda: fleet.user.json("worker")["workers"][0]["state"] == "busy", "it is busy")
    for each in hostile_frames():
        fleet.stranger.publish(each)
    fleet.user.until(fleet.hears, "its supervisor answers for it")
    gate.touch()
    assert task.get(timeout=60)["row"] == {"wait_for": str(gate)}
    assert fleet.pids() == before
    assert not broker_redis.exists("mlq:paused")


def test_published_frames_are_not_decompressed_or_read_beyond_a_mebibyte(start_fleet: Callable[..., Fleet]) -> None:
    """A few kilobytes would grow to gigabytes in every listening process at once."""
    fleet = start_fleet()
    before, pids = fleet.bytes(), fleet.pids()
    fleet.stranger.compressed(command("ping"), zeros=300_000_000)
    fleet.stranger.tell(command("ping", {"padding": "0" * 3_000_000}))
    fleet.stranger.publish(frame(command("revoke", {"task_id": [f"{n:036}" for n in range(10**5)]})))
    assert fleet.answers()
    fleet.user.until(fleet.hears, "it answers a question")
    assert fleet.bytes() - before < 50 * 2**20
    assert fleet.pids() == pids


def test_an_operator_sees_a_rate_limit_and_a_client_can_remove_it(start_fleet: Callable[..., Fleet]) -> None:
    """It explains why a worker is idle while its queue waits."""
    fleet = start_fleet()
    (reply,) = answers(fleet.client, "rate_limit", {"task_name": "mlq.predict", "rate_limit": "1/h"})
    assert "ok" in reply
    user = fleet.user
    limits = {"mlq.predict": "1/h"}
    user.until(lambda: user.json("worker")["workers"][0]["rate_limits"] == limits, "`mlq worker` shows it")
    served = {q["name"]: q["rate_limits"] for q in user.json("queues")["queues"]}
    assert served["realtime"] == limits
    for command_line in (("worker",), ("queues",)):
        assert "mlq.predict has a rate limit of 1/h" in user.run(*command_line).stdout
    for bad in ("nan/s", "-1/s", 10**400, "1/fortnight", ["1/h"], True, "1" * 10_000):
        (reply,) = answers(fleet.client, "rate_limit", {"task_name": "mlq.predict", "rate_limit": bad})
        assert "error" in reply, bad
    answers(fleet.client, "rate_limit", {"task_name": "mlq.predict", "rate_limit": 0})
    user.until(lambda: user.json("worker")["workers"][0]["rate_limits"] == {}, "the limit is removed")
    assert fleet.answers()


def test_if_all_commands_are_accepted_a_shutdown_only_replaces_the_worker(start_fleet: Callable[..., Fleet]) -> None:
    """An end that the supervisor did not order is not a crash.

    Six of them in a row once stopped all workers permanently.
    """
    fleet = start_fleet(MLQ_CONTROLS="all")
    for ended in (1, 2):
        fleet.stranger.tell(command("shutdown"))
        fleet.running.wait_for("ended with exit code 0", times=ended)
        fleet.running.wait_for("ready after", times=ended + 1)
        fleet.user.until(fleet.hears, "its successor's mailbox is open")
    assert fleet.answers()


def test_if_no_commands_are_accepted_orders_of_an_operator_still_work(start_fleet: Callable[..., Fleet]) -> None:
    """The mailbox then accepts only the announcement of an order."""
    fleet = start_fleet(MLQ_CONTROLS="none")
    assert fleet.answers()
    _, (first,) = fleet.pids()
    assert answers(fleet.client, "ping") == []
    fleet.stranger.tell(command("revoke", {"task_id": "a"}), command("shutdown"))
    assert fleet.user.run("worker", "restart", "--all").returncode == 0
    _, (second,) = fleet.pids()
    assert second != first
    assert fleet.answers()
    drained = fleet.user.run("worker", "drain", "--all")
    assert (drained.returncode, fleet.running.wait()) == (0, 0)


def test_every_control_command_of_celery_is_classified() -> None:
    """A command of a new Celery version needs a decision."""
    from celery.worker.control import Panel

    from mlq.protocol.control_policy import OF_CELERY

    assert set(Panel.data) <= OF_CELERY
    assert json.dumps(sorted(OF_CELERY))
