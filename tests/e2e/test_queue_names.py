"""Queue names: an unknown one is refused with the nearest name, and used ones are listed."""

from __future__ import annotations

import json
import signal

import pytest
from celery import Celery
from redis import Redis

from mlq.protocol import keys
from mlq.store.workers import heartbeats
from tests.conftest import Start, User
from tests.store.test_queue_names import WORKER


def listed(user: User, *argv: str) -> dict[str, tuple[int, int]]:
    """Return the waiting messages of each listed queue, and the number of its workers."""
    return {q["name"]: (q["ready"], q["workers"]) for q in user.json("queues", *argv)["queues"]}


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("realtim", "did you mean 'realtime'?"),
        ("Realtime", "did you mean 'realtime'?"),
        ("batches", "did you mean 'batch'?"),
        ("x/y z", "known queues are realtime, default, batch"),
    ],
)
@pytest.mark.parametrize("wait", [(), ("--wait", "-o", "out.jsonl")])
def test_rows_are_not_sent_to_an_unknown_queue(
    user: User, broker_redis: Redis, name: str, advice: str, wait: tuple[str, ...]
) -> None:
    """After a typo no worker would find them. No job is recorded, and no output is created."""
    user.write("rows.jsonl", "1\n2\n")
    done = user.run("submit", "rows.jsonl", "--queue", name, *wait)
    assert done.returncode == 5
    happened, hint = done.stderr.splitlines()
    assert happened == f"mlq: no queue {name!r}: it is not configured, and no worker serves it"
    assert advice in hint
    assert "--create-queue" in hint
    assert broker_redis.keys("mlq:job*") == []
    assert not (user.directory / "out.jsonl").exists()


def test_a_new_queue_is_created_with_an_option_and_listed_from_then_on(user: User, start: Start, broker: str) -> None:
    """It is listed with its messages and no worker.

    A worker that serves it answers them, and later no option is needed.
    """
    del broker
    user.write("rows.jsonl", "1\n2\n")
    done = user.run("submit", "rows.jsonl", "--queue", "new", "--create-queue")
    assert done.returncode == 0, done.stderr
    assert "no worker serves queue 'new'" in done.stderr
    assert listed(user)["new"] == (1, 0)
    assert "new" in user.run("values", "queues").stdout.split()
    workers = start("--cpus", "1", "--queues", "new,other")
    assert user.run("submit", "rows.jsonl", "--queue", "other", "--wait").returncode == 0
    assert workers.end() == 0
    assert listed(user)["other"] == (0, 0), "a queue is known when its workers are gone: an autoscaler may be at 0"
    assert user.run("submit", "rows.jsonl", "--queue", "other").returncode == 0
    assert user.run("queues", "purge", "other", "--yes").returncode == 0
    assert "other" not in listed(user)


@pytest.mark.parametrize(
    "row",
    [
        '{"task": "mlq.predict", "args": [2], "queue": "bach"}',
        '{"id": "b", "input": {"task": "mlq.predict", "args": [2], "queue": "bach"}}',
        '{"task": "mlq.predict", "args": [2], "qu\\u0065ue": "bach"}',
    ],
)
def test_a_task_is_not_sent_to_an_unknown_queue(user: User, start: Start, broker_redis: Redis, row: str) -> None:
    """From a file no row is sent. From a pipe earlier rows are sent already, and this one is an error row."""
    user.write("tasks.jsonl", '{"task": "mlq.predict", "args": [1], "queue": "batch"}\n' + row + "\n")
    done = user.run("submit", "tasks.jsonl", "--tasks")
    assert done.returncode == 5
    assert "no queue 'bach' (row 1 of tasks.jsonl)" in done.stderr
    assert "did you mean 'batch'?" in done.stderr
    assert broker_redis.keys("mlq:job*") == []
    start("--cpus", "1")
    piped = user.run("submit", "-", "--tasks", "--wait", input=(user.directory / "tasks.jsonl").read_text())
    assert piped.returncode == 6
    first, second = map(json.loads, piped.stdout.splitlines())
    assert first["status"] == "ok"
    assert second["error"]["type"] == "UnknownQueue"
    assert "did you mean 'batch'?" in second["error"]["message"]
    assert not broker_redis.exists("bach")


def test_a_queue_of_a_worker_of_an_earlier_version_is_known(user: User, broker_redis: Redis) -> None:
    """Such a worker notes no names, but its heartbeat has them."""
    user.write("rows.jsonl", "1\n2\n")
    heartbeats.beat(broker_redis, [WORKER])
    assert not broker_redis.exists(keys.QUEUES)
    assert listed(user)["served"] == (0, 1)
    assert user.run("submit", "rows.jsonl", "--queue", "served").returncode == 0


def test_all_lists_other_clients_queues(user: User, client: Celery) -> None:
    """They are found among the server's keys, which are not searched without the option."""
    client.send_task("their.task", queue="theirs", priority=9)
    assert "theirs" not in listed(user)
    assert listed(user, "--all")["theirs"] == (1, 0)
    assert user.run("queues", "theirs", "--all").returncode == 2


def test_every_command_suggests_the_nearest_name_for_an_unknown_queue(user: User, broker: str) -> None:
    """This holds for each command with a queue as an argument."""
    del broker
    for argv in (["queues", "bacth"], ["queues", "pause", "bacth"], ["queues", "purge", "bacth", "--yes"],
                 ["queues", "resume", "bacth"], ["autoscale", "--queue", "bacth", "--once"]):  # fmt: skip
        done = user.run(*argv)
        assert done.returncode == 5, argv
        assert "did you mean 'batch'?" in done.stderr, argv


def test_a_served_queue_is_known_at_once(user: User, start: Start, broker_redis: Redis) -> None:
    """Its name is noted with the first heartbeat, and stays when the worker is killed."""
    workers = start("--cpus", "1", "--queues", "mine")
    user.until(lambda: broker_redis.zscore(keys.QUEUES, "mine") is not None, "the name is noted")
    workers.end(signal.SIGKILL)
    assert "mine" in listed(user)
