"""Celery's monitors see a worker that is deep in a task as what it is, and a revoke reaches it."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError
from kombu import Exchange, Producer
from redis import Redis

from chaos.faultkit import until


@pytest.fixture
def busy(house: Any, client: Celery, start: Any) -> Any:
    """One of two workers in a task of half a minute."""
    workers = start("--cpus", "2", ready=2)
    task = client.send_task("mlq.predict", [{"sleep": 30}], queue="realtime")
    # Until the task has been running for a while, and the idle worker's mailbox listens.
    house.until(lambda: len(client.control.ping(timeout=1) or []) == 2, "both answer")
    return workers, task


def test_a_busy_worker_answers_as_an_idle_one_does_and_once(client: Celery, busy: Any) -> None:
    """Stock solo workers are deaf while they work, and monitors count them as offline."""
    _, task = busy
    inspect = client.control.inspect(timeout=1)
    active = {name: [t["id"] for t in tasks] for name, tasks in (inspect.active() or {}).items()}
    assert sorted(active.values()) == [[], [task.id]]
    (name,) = [name for name, tasks in active.items() if tasks]
    replies = client.control.ping(timeout=1) or []
    assert sorted(name for reply in replies for name in reply) == sorted(active)
    queues = inspect.active_queues() or {}
    assert [q["name"] for q in queues[name]] == ["realtime", "default", "batch", "celery"]
    stats = inspect.stats() or {}
    assert stats[name]["pool"]["max-concurrency"] == 1
    only = client.control.inspect(destination=[name], timeout=1).ping() or {}
    assert only == {name: {"ok": "pong"}}
    client.control.revoke(task.id, terminate=True)


def test_a_revoke_with_terminate_ends_a_running_task_and_nobody_is_blamed(
    house: Any, client: Celery, busy: Any
) -> None:
    """Its client is told, the worker is replaced at once, and nothing comes back."""
    workers, task = busy
    client.control.revoke(task.id, terminate=True)
    with pytest.raises(TaskRevokedError):
        task.get(timeout=20)
    workers.wait_for("ready after", times=3)
    assert house.json("dead")["entries"] == []
    assert client.send_task("mlq.predict", [1], queue="realtime").get(timeout=20)["row"] == 1


def test_control_messages_that_make_no_sense_deafen_nobody(client: Celery, busy: Any) -> None:
    """A revoke of nothing, and what some monitor of another configuration sends."""
    _, task = busy
    client.control.revoke([])
    client.control.broadcast("revoke", arguments={"task_id": {"a": 1}})
    with client.connection_or_acquire() as connection:
        exchange = Exchange("celery.pidbox", type="fanout", durable=False)
        producer = Producer(connection.default_channel, exchange)
        producer.publish(b"\x80\x04N.", content_type="application/x-python-serialize", content_encoding="binary")
        producer.publish("[1, 2", content_type="application/json", content_encoding="utf-8")
    active = client.control.inspect(timeout=2).active() or {}
    assert [t["id"] for tasks in active.values() for t in tasks] == [task.id]
    client.control.revoke(task.id, terminate=True)


def test_a_revoke_of_what_waits_behind_a_busy_worker_holds(house: Any, client: Celery, start: Any) -> None:
    """Also for a worker that starts afterwards: a broadcast alone would be forgotten."""
    gate = house.directory / "gate"
    workers = start("--cpus", "1")
    client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime")
    house.until(lambda: house.json("worker")["workers"][0]["state"] == "busy", "it is busy")
    waits, later = (client.send_task("mlq.predict", ["never"], queue=queue) for queue in ("realtime", "batch"))
    house.until(lambda: bool(client.control.ping(timeout=1)), "somebody hears")
    client.control.revoke([waits.id, later.id])
    house.run("queues", "pause", "batch")
    house.until(lambda: len((client.control.inspect(timeout=1).revoked() or {"": []}).popitem()[1]) == 2, "it is heard")
    gate.touch()
    with pytest.raises(TaskRevokedError):
        waits.get(timeout=20)
    assert workers.end() == 0
    house.run("queues", "resume", "batch")
    start("--cpus", "1", ready=1)
    with pytest.raises(TaskRevokedError):
        later.get(timeout=20)
    assert "never" not in (house.directory / "model.log").read_text()


def test_what_was_revoked_while_nobody_listened_is_revoked_here_too(client: Celery, busy: Any, broker: str) -> None:
    """Another host has heard of it and remembered; a connection that was lost hears nothing."""
    _, task = busy
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://")) as redis:
        redis.zadd("mlq:revoked", {"elsewhere": redis.time()[0]})
        redis.client_kill_filter(_type="pubsub")

    def told() -> bool:
        return any("elsewhere" in ids for ids in (client.control.inspect(timeout=1).revoked() or {}).values())

    until(told, "it is known here")
    client.control.revoke(task.id, terminate=True)
