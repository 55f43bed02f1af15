"""Queues by name: what nobody knows is refused with the nearest name, and what was used is listed."""

from __future__ import annotations

import json
import signal

import pytest
from celery import Celery
from redis import Redis

from mlq.protocol import keys
from mlq.store.workers import heartbeats
from tests.conftest import House, Start
from tests.store.test_queue_names import WORKER


def listed(house: House, *argv: str) -> dict[str, tuple[int, int]]:
    """Give what waits in each listed queue, and how many workers serve it."""
    return {q["name"]: (q["ready"], q["workers"]) for q in house.json("queues", *argv)["queues"]}


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
def test_rows_are_not_sent_to_a_queue_that_nobody_knows(
    house: House, inside: Redis, name: str, advice: str, wait: tuple[str, ...]
) -> None:
    """A typo would leave them where no worker looks; no job is recorded, no output is begun."""
    house.write("rows.jsonl", "1\n2\n")
    done = house.run("submit", "rows.jsonl", "--queue", name, *wait)
    assert done.returncode == 5
    happened, hint = done.stderr.splitlines()
    assert happened == f"mlq: no queue {name!r}: it is not configured, and no worker serves it"
    assert advice in hint
    assert "--create-queue" in hint
    assert inside.keys("mlq:job*") == []
    assert not (house.directory / "out.jsonl").exists()


def test_a_new_queue_is_created_on_purpose_and_listed_from_then_on(house: House, start: Start, broker: str) -> None:
    """With its messages and no worker; a worker that serves it answers them, and it is known without the option."""
    del broker
    house.write("rows.jsonl", "1\n2\n")
    done = house.run("submit", "rows.jsonl", "--queue", "new", "--create-queue")
    assert done.returncode == 0, done.stderr
    assert "no worker serves queue 'new'" in done.stderr
    assert listed(house)["new"] == (1, 0)
    assert "new" in house.run("values", "queues").stdout.split()
    workers = start("--cpus", "1", "--queues", "new,other")
    assert house.run("submit", "rows.jsonl", "--queue", "other", "--wait").returncode == 0
    assert workers.end() == 0
    assert listed(house)["other"] == (0, 0), "a queue is known when its workers are gone: an autoscaler may be at 0"
    assert house.run("submit", "rows.jsonl", "--queue", "other").returncode == 0
    assert house.run("queues", "purge", "other", "--yes").returncode == 0
    assert "other" not in listed(house)


@pytest.mark.parametrize(
    "row",
    [
        '{"task": "mlq.predict", "args": [2], "queue": "bach"}',
        '{"id": "b", "input": {"task": "mlq.predict", "args": [2], "queue": "bach"}}',
        '{"task": "mlq.predict", "args": [2], "qu\\u0065ue": "bach"}',
    ],
)
def test_a_task_is_not_sent_to_a_queue_that_nobody_knows(house: House, start: Start, inside: Redis, row: str) -> None:
    """Of a file nothing is sent. From a pipe earlier rows are sent already: the row is an error row."""
    house.write("tasks.jsonl", '{"task": "mlq.predict", "args": [1], "queue": "batch"}\n' + row + "\n")
    done = house.run("submit", "tasks.jsonl", "--tasks")
    assert done.returncode == 5
    assert "no queue 'bach' (row 1 of tasks.jsonl)" in done.stderr
    assert "did you mean 'batch'?" in done.stderr
    assert inside.keys("mlq:job*") == []
    start("--cpus", "1")
    piped = house.run("submit", "-", "--tasks", "--wait", input=(house.directory / "tasks.jsonl").read_text())
    assert piped.returncode == 6
    first, second = map(json.loads, piped.stdout.splitlines())
    assert first["status"] == "ok"
    assert second["error"]["type"] == "UnknownQueue"
    assert "did you mean 'batch'?" in second["error"]["message"]
    assert not inside.exists("bach")


def test_a_queue_of_a_worker_of_an_earlier_version_is_known(house: House, inside: Redis) -> None:
    """It notes no names; its heartbeat is enough."""
    house.write("rows.jsonl", "1\n2\n")
    heartbeats.beat(inside, [WORKER])
    assert not inside.exists(keys.QUEUES)
    assert listed(house)["served"] == (0, 1)
    assert house.run("submit", "rows.jsonl", "--queue", "served").returncode == 0


def test_all_lists_other_clients_queues(house: House, client: Celery) -> None:
    """They are found among the keys; without the option they are not looked for."""
    client.send_task("their.task", queue="theirs", priority=9)
    assert "theirs" not in listed(house)
    assert listed(house, "--all")["theirs"] == (1, 0)
    assert house.run("queues", "theirs", "--all").returncode == 2


def test_names_near_a_known_one_are_named_wherever_a_queue_is_asked_for(house: House, broker: str) -> None:
    """Each command that takes the name of a queue."""
    del broker
    for argv in (["queues", "bacth"], ["queues", "pause", "bacth"], ["queues", "purge", "bacth", "--yes"],
                 ["queues", "resume", "bacth"], ["autoscale", "--queue", "bacth", "--once"]):  # fmt: skip
        done = house.run(*argv)
        assert done.returncode == 5, argv
        assert "did you mean 'batch'?" in done.stderr, argv


def test_a_served_queue_is_known_at_once(house: House, start: Start, inside: Redis) -> None:
    """Its name is noted with the first heartbeat, and removed by nothing when the worker is killed."""
    workers = start("--cpus", "1", "--queues", "mine")
    house.until(lambda: inside.zscore(keys.QUEUES, "mine") is not None, "the name is noted")
    workers.end(signal.SIGKILL)
    assert "mine" in listed(house)
