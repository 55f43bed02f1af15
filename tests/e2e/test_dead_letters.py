"""Dead letters are listed, reproduced without the queues, requeued after a fix, and dropped."""

from __future__ import annotations

import base64
import json
import socket
from typing import Any

import pytest
from celery import Celery
from redis import Redis

KILLER = """
import os
from serve import Model as Good
class Model(Good):
    def answer(self, row):
        if row == "die" and not os.path.exists("mended"):
            os.abort()
        return super().answer(row)
"""


def dead(user: Any, *filters: str) -> list[dict[str, Any]]:
    """Return the dead letters."""
    entries: list[dict[str, Any]] = user.json("dead", *filters)["entries"]
    return entries


def test_a_message_that_kills_workers_is_dead_lettered_reproduced_and_requeued_after_a_fix(
    user: Any, client: Celery, start: Any
) -> None:
    """Its whole life: three dead workers, a FAILURE, the stacks, a fix, the answer."""
    user.write("killer.py", KILLER)
    start("--cpus", "1", model="killer.py:Model")
    task = client.send_task("mlq.predict", ["die"], queue="realtime")
    assert "WorkerLostError" in repr(task.get(timeout=60, propagate=False))
    (entry,) = dead(user)
    assert (entry["task_id"], entry["reason"], entry["deliveries"]) == (task.id, "crash", 3)
    (whole,) = json.loads(user.run("dead", "show", entry["id"], "--json").stdout)["entries"]
    known = whole["circumstances"]
    assert (known["signal"], known["device"][:3], known["host"]) == ("6", "CPU", socket.gethostname())
    again = user.run("dead", "rerun", entry["id"], "--model", "killer.py:Model")
    assert again.returncode == 1
    assert "signal SIGABRT" in again.stderr
    assert "killer.py" in again.stderr, "the stacks say where"
    assert dead(user) == [entry], "and nothing has changed"
    user.write("mended", "")
    again = user.run("dead", "rerun", entry["id"], "--model", "killer.py:Model")
    assert (again.returncode, json.loads(again.stdout)["status"]) == (0, "SUCCESS")
    assert user.run("dead", "retry", entry["id"]).returncode == 0
    assert client.AsyncResult(task.id).get(timeout=30)["row"] == "die"
    assert dead(user) == []


def test_the_number_of_workers_that_a_message_may_kill_is_a_setting(user: Any, client: Celery, start: Any) -> None:
    """The time after which a silent host counts as dead is a setting, too."""
    user.write("killer.py", KILLER)
    start("--cpus", "1", model="killer.py:Model", MLQ_WORKER_MAX_CRASHES="1", MLQ_LEASE="60")
    (worker,) = user.json("worker")["workers"]
    assert worker["lease_s"] > 30
    task = client.send_task("mlq.predict", ["die"], queue="realtime")
    assert "died once" in str(task.get(timeout=60, propagate=False))
    assert [entry["deliveries"] for entry in dead(user)] == [1]


@pytest.fixture
def letters(user: Any, client: Celery, start: Any) -> list[dict[str, Any]]:
    """Make three dead letters, of which one is hostile.

    Two cannot be read, and one is of an unknown task; the worker is gone.
    """
    workers = start("--cpus", "1")
    with Redis(unix_socket_path=user.broker_url.removeprefix("redis+socket://")) as redis:
        redis.lpush("realtime", b"not json", b"\x1b]0;owned\x07\n[red]")
    client.send_task("no.such", queue="batch")
    user.until(lambda: len(dead(user)) == 3, "there are three dead letters")
    assert workers.end() == 0
    return dead(user)


def test_letters_are_filtered_and_payloads_cannot_control_the_terminal(
    user: Any, letters: list[dict[str, Any]]
) -> None:
    """The filters are queue, reason and time; control characters are shown as escapes."""
    assert [e["queue"] for e in letters] == ["realtime", "realtime", "batch"]
    assert {e["host"] for e in letters} == {socket.gethostname()}
    assert [e["reason"] for e in dead(user, "--reason", "malformed")] == ["malformed"] * 2
    assert [e["task"] for e in dead(user, "--queue", "batch")] == ["no.such"]
    assert dead(user, "--since", "2020-01-01") == letters
    assert dead(user, "--since", "2999-01-01") == []
    shown = user.run("dead", "show", letters[1]["id"])
    assert "\\x1b]0;owned\\x07\\n[red]" in shown.stdout
    assert "\x1b" not in shown.stdout + user.run("dead").stdout
    exported = [json.loads(line) for line in user.run("dead", "export").stdout.splitlines()]
    assert [base64.b64decode(e["raw"]) for e in exported][:2] == [b"not json", b"\x1b]0;owned\x07\n[red]"]


def test_letters_are_not_dropped_or_requeued_by_mistake(user: Any, letters: list[dict[str, Any]]) -> None:
    """A call without ids does not mean all, and a dry run changes nothing.

    A script needs --yes, and a wrong id is an error.
    """
    assert user.run("dead", "drop").returncode == 2
    assert user.run("dead", "retry", "--all").returncode == 2
    assert user.run("dead", "drop", "--all").returncode == 2
    assert user.run("dead", "retry", "nothing").returncode == 5
    assert user.run("dead", "ls", "--since", "yesterday").returncode == 2
    dry = user.run("dead", "drop", "--all", "--dry-run", "--reason", "malformed")
    assert "2 would be dropped" in dry.stdout
    assert dead(user) == letters
    dropped = user.json("dead", "drop", "--all", "--reason", "malformed", "--yes")
    assert [e["id"] for e in dropped["entries"]] == [e["id"] for e in letters[:2]]
    assert user.run("dead", "retry", letters[2]["id"], "--rate", "5/s").returncode == 0
    assert dead(user) == []
    assert user.json("queues", "batch")["queues"][0]["ready"] == 1
