"""Clients other than mlq's: their tasks run with any id and content, or they get an error as the answer."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest
from celery import Celery
from redis import Redis

from mlq.protocol import keys

IDS: Final = [
    *("offer: 7 is over", "user@example.com", "report/2024", "(a) {b} [c]", "é" * 250, "a" * 129),
    *("*", "mlq:jobs", "a:b:ends", "\x00", "\x1b[2J\x1b[H", "a\nWARNING dead letter 1-1: forged", "[red]x[/red]"),
]
GET_S: Final = 60


def redis_of(broker: str) -> Redis:
    """Return a client of the workers' server."""
    return Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=30)


def test_a_task_may_have_any_id(user: Any, client: Celery, start: Any, broker: str) -> None:
    """An id makes one Redis key, and cannot add a line to a log or a table. Stock workers run all of these."""
    workers = start("--cpus", "1")
    with redis_of(broker) as redis:
        client.send_task("mlq.predict", ({"row": 0},), queue="realtime").get(timeout=GET_S)
        before = set(redis.keys())
        sent = [client.send_task("mlq.predict", ({"n": n},), task_id=i, queue="realtime") for n, i in enumerate(IDS)]
        assert [task.get(timeout=GET_S)["row"]["n"] for task in sent] == list(range(len(IDS)))
        new = set(redis.keys()) - before - {keys.WATCHES.encode()}  # which an idle worker adds and removes
    assert new == {b"celery-task-meta-" + i.encode() for i in IDS}
    for number, task_id in enumerate(IDS):
        if "\x00" not in task_id:  # which cannot be an argument of a command
            shown = user.run("result", "--json", "--", task_id)
            assert shown.returncode == 0, shown.stderr
            assert f'"n":{number}' in shown.stdout
    failed = [client.send_task("mlq.predict", ({"fail": i},), task_id=f"{i} fails", queue="realtime") for i in IDS]
    for task in failed:
        assert isinstance(task.get(timeout=GET_S, propagate=False), Exception)
    workers.end()
    assert any("fails] raised" in line for line in workers.lines)
    assert not any(line.partition(" | ")[2].startswith("WARNING dead letter") for line in workers.lines)
    assert not any("\x1b" in line for line in workers.lines)


def test_refused_messages_are_answered_and_listed(user: Any, client: Celery, start: Any) -> None:
    """Otherwise .get() hangs. They have an id that is too long, protocol 1, or an unknown task."""
    start("--cpus", "1")
    failure = client.send_task("mlq.predict", (1,), task_id="x" * 513).get(timeout=GET_S, propagate=False)
    assert "the id has 513 bytes, the limit is 512" in str(failure)
    amqp: Any = client.amqp
    amqp.create_task_message = amqp.as_task_v1  # task_protocol = 1, which a client reads only once
    failure = client.send_task("mlq.predict", (1,), task_id="first\x1b[2J").get(timeout=GET_S, propagate=False)
    assert "version 1 of Celery's message protocol" in str(failure)
    amqp.create_task_message = amqp.as_task_v2
    failure = client.send_task("no.\udcff", (1,), task_id="half").get(timeout=GET_S, propagate=False)
    assert "is known here" in str(failure)
    letters = user.json("dead")["entries"]
    assert {"x" * 513, "first\x1b[2J", "half"} == {letter["task_id"] for letter in letters}
    table = user.run("dead").stdout
    assert "\x1b" not in table
    assert len(table.splitlines()) == 4


@pytest.mark.parametrize("value", [2**70, -(2**63) - 1, "x\udcff", {"\ud800": 2**64}])
def test_values_that_only_pythons_json_supports_arrive_unchanged(
    user: Any, client: Celery, start: Any, value: Any
) -> None:
    """A stock worker passes them to its task, so the model gets them, too. Their answers can be collected."""
    start("--cpus", "1", MODEL_LOG="")  # the test's model writes its log as UTF-8
    task = client.send_task("mlq.predict", (value,), headers={"score": float("nan"), "big": 2**70, "half": "\udcff"})
    assert task.get(timeout=GET_S)["row"] == value
    shown = user.run("result", task.id)
    assert shown.returncode == 0, shown.stderr


@pytest.mark.parametrize("method", ["gzip", "zlib", "bzip2", "lzma"])
@pytest.mark.parametrize("pool", [(), ("--pool", "prefork", "--concurrency", "1")], ids=["solo", "prefork"])
def test_a_compressed_body_is_read_but_not_a_decompression_bomb(
    client: Celery, start: Any, method: str, pool: tuple[str, ...]
) -> None:
    """A hundred bytes can hold 40 MB. The client gets an error, and the worker lives."""
    workers = start(*pool or ("--cpus", "1"))
    before = workers.pids()
    client.conf.task_compression = method
    assert client.send_task("mlq.predict", ([7],)).get(timeout=GET_S)["row"] == [7]
    bomb = client.send_task("mlq.predict", ("0" * 40_000_000,), argsrepr="…")
    deadline = time.monotonic() + GET_S
    while bomb.state == "PENDING" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert bomb.state == "FAILURE"
    assert type(bomb.result).__name__ == "Rejected"
    assert workers.pids() == before
    assert client.send_task("mlq.predict", ([8],)).get(timeout=GET_S)["row"] == [8]


@pytest.mark.parametrize("spoil", ["expires", "eta"])
def test_a_prefork_pool_answers_messages_that_celery_calls_invalid(client: Celery, start: Any, spoil: str) -> None:
    """Stock Celery logs the error and rejects the message, and the client waits."""
    start("--pool", "prefork", "--concurrency", "1")
    task = client.send_task("mlq.predict", ([7],), headers={spoil: "tomorrow"})
    with pytest.raises(Exception, match="malformed"):
        task.get(timeout=GET_S)
