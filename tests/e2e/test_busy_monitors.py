"""Celery's monitors see the true state of a worker during a long task, and can revoke that task."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError
from kombu import Exchange, Producer
from redis import Redis

from chaos.faultkit import until


@pytest.fixture
def busy(user: Any, client: Celery, start: Any) -> Any:
    """Start two workers, of which one runs a task of half a minute."""
    workers = start("--cpus", "2", ready=2)
    task = client.send_task("mlq.predict", [{"sleep": 30}], queue="realtime")
    # Wait until the task has run for a while, and until the idle worker's mailbox listens.
    user.until(lambda: len(client.control.ping(timeout=1) or []) == 2, "both answer")
    return workers, task


def test_a_busy_worker_answers_once_like_an_idle_worker(client: Celery, busy: Any) -> None:
    """Stock solo workers do not answer during a task, and monitors count them as offline."""
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


def test_a_revoke_with_terminate_ends_a_running_task_without_counting_a_crash(
    user: Any, client: Celery, busy: Any
) -> None:
    """The client gets the answer, the worker is replaced at once, and the message does not come back."""
    workers, task = busy
    client.control.revoke(task.id, terminate=True)
    with pytest.raises(TaskRevokedError):
        task.get(timeout=20)
    workers.wait_for("ready after", times=3)
    assert user.json("dead")["entries"] == []
    assert client.send_task("mlq.predict", [1], queue="realtime").get(timeout=20)["row"] == 1


def test_workers_still_answer_after_invalid_control_messages(client: Celery, busy: Any) -> None:
    """The messages are a revoke without a task, and those that a monitor with another configuration sends."""
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


def test_a_revoke_of_a_message_that_waits_behind_a_busy_worker_holds(user: Any, client: Celery, start: Any) -> None:
    """It also holds for a worker that starts later, which a broadcast alone would not reach."""
    gate = user.directory / "gate"
    workers = start("--cpus", "1")
    client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime")
    user.until(lambda: user.json("worker")["workers"][0]["state"] == "busy", "it is busy")
    waits, later = (client.send_task("mlq.predict", ["never"], queue=queue) for queue in ("realtime", "batch"))
    user.until(lambda: bool(client.control.ping(timeout=1)), "a worker listens")
    client.control.revoke([waits.id, later.id])
    user.run("queues", "pause", "batch")
    user.until(
        lambda: len((client.control.inspect(timeout=1).revoked() or {"": []}).popitem()[1]) == 2,
        "the worker has received it",
    )
    gate.touch()
    with pytest.raises(TaskRevokedError):
        waits.get(timeout=20)
    assert workers.end() == 0
    user.run("queues", "resume", "batch")
    start("--cpus", "1", ready=1)
    with pytest.raises(TaskRevokedError):
        later.get(timeout=20)
    assert "never" not in (user.directory / "model.log").read_text()


def test_a_revoke_that_only_another_host_received_holds_here_too(client: Celery, busy: Any, broker: str) -> None:
    """The other host stores the revoke. This host may have missed it while its connection was lost."""
    _, task = busy
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://")) as redis:
        redis.zadd("mlq:revoked", {"elsewhere": redis.time()[0]})
        redis.client_kill_filter(_type="pubsub")

    def is_revoked_here() -> bool:
        return any("elsewhere" in ids for ids in (client.control.inspect(timeout=1).revoked() or {}).values())

    until(is_revoked_here, "it is known here")
    client.control.revoke(task.id, terminate=True)
