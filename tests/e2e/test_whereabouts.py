"""`mlq result ID` of an unanswered task says where the task is, without a search of unlimited length."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import pytest
from celery import Celery
from redis import Redis

from mlq.store.messages import search

IDS: Final = ["plain", "user@example.com", "naïve é", "\x1b[2J", 'a"b\\c']


def redis_of(broker: str) -> Redis:
    """Return a client of the workers' server."""
    return Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=30)


@pytest.mark.parametrize("task_id", IDS)
def test_a_queued_task_is_found_in_its_queue(user: Any, client: Celery, task_id: str) -> None:
    """The output has the number of messages before it, at all priorities. The exit code is 7: not finished."""
    for n in range(5):
        client.send_task("mlq.predict", (n,), queue="default", priority=0)
    client.send_task("mlq.predict", (1,), queue="default", priority=9)
    client.send_task("mlq.predict", (1,), task_id=task_id, queue="default")
    client.send_task("mlq.predict", (1,), queue="default", root_id=task_id, parent_id=task_id)
    ended = user.run("result", "--", task_id)
    assert ended.returncode == 7
    assert "it waits in queue 'default' behind 6 messages" in ended.stderr
    assert "result --wait" in ended.stderr
    assert "\x1b" not in ended.stderr


def test_running_delayed_and_dead_tasks_are_found(user: Any, client: Celery, start: Any) -> None:
    """The output names the worker that holds it, the time that it waits for, or the dead letter."""
    start("--cpus", "1")
    gate = user.directory / "gate"
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    client.send_task("mlq.predict", (1,), task_id="later", eta=later)
    user.until(lambda: "delayed until 2" in user.run("result", "later").stderr, "it is delayed")
    client.send_task("mlq.predict", ({"wait_for": str(gate)},), task_id="now")
    user.until(lambda: "has it" in user.run("result", "now").stderr, "it runs")
    assert user.run("result", "now").returncode == 7
    gate.touch()
    client.send_task("mlq.predict", (1,), task_id="dead", headers={"eta": "tomorrow"})
    user.until(lambda: len(user.json("dead")["entries"]) == 1, "it is a dead letter")
    client.AsyncResult("dead").forget()  # as after the expiry of its answer
    ended = user.run("result", "dead")
    assert ended.returncode == 6
    assert "it is dead letter" in ended.stderr
    assert "malformed" in ended.stderr


def test_an_unknown_task_is_unknown(user: Any, broker: str) -> None:
    """The exit code is 5, and the search was complete, so no part is named as not searched."""
    assert broker
    for task_id in ("no-such", "*", "a:b"):
        ended = user.run("result", task_id)
        assert ended.returncode == 5
        assert "the id is unknown, or the result has expired\n" in ended.stderr


def test_a_part_of_a_job_leads_to_its_job(user: Any, broker: str) -> None:
    """Its answer is recorded in the job, and its own result key never exists."""
    assert broker
    user.write("rows.jsonl", "1\n2\n3\n")
    job = user.run("submit", "rows.jsonl", "--chunk", "1").stdout.strip()
    with redis_of(broker) as redis:
        raw = redis.lindex("batch", -2)
    assert isinstance(raw, bytes)
    ended = user.run("result", json.loads(raw)["headers"]["id"])
    assert ended.returncode == 5
    assert f"is part of job {job}" in ended.stderr
    assert "behind 1 messages" in ended.stderr


def test_a_limited_part_of_a_long_queue_is_searched_and_the_rest_is_named(user: Any, broker: str) -> None:
    """A search of a million messages would block the server for a second, and the operator for a minute."""
    with redis_of(broker) as redis:
        for start in range(0, 30_000, 5_000):
            redis.lpush("default", *(json.dumps({"headers": {"id": f"t{n}"}}) for n in range(start, start + 5_000)))
    assert search.MOST_MESSAGES == 20_000
    ended = user.run("result", "t19999")
    assert "behind 19,999 messages" in ended.stderr or "not looked at" in ended.stderr
    ended = user.run("result", "t29999")
    assert ended.returncode == 5
    assert "messages of queue default" in ended.stderr
