"""A worker whose device context is lost ends with exit code 70 and is replaced, and the row that causes it is found."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from redis import Redis

from mlq.protocol import keys
from tests.conftest import Start, User

FRAGILE = '''
import os

class Model:
    """On a device that faults once, at the first row that asks for it; nothing computes on it from then on."""
    max_batch_size = 4

    def setup(self, device):
        self.lost = False

    def predict(self, rows):
        with open("computed.log", "a") as file:
            file.write(f"{os.getpid()} {rows}\\n")
        if "always" in rows or "fault" in rows and not os.path.exists("faulted"):
            open("faulted", "w").close()
            self.lost = True
        if self.lost:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return [[row, os.getpid()] for row in rows]
'''


@pytest.mark.parametrize("alone", [False, True])
def test_a_device_side_fault_costs_only_its_worker(
    user: User, client: Celery, start: Start, broker_redis: Redis, *, alone: bool
) -> None:
    """The replacement computes the rows of that moment again, for all clients, Celery's included."""
    user.write("fragile.py", FRAGILE)
    workers = start("--cpus", "1", model="fragile.py:Model")
    (first,) = workers.pids().values()
    assert user.run("queues", "pause", "realtime").returncode == 0
    options: dict[str, Any] = {"expires": 600} if alone else {}  # with which each message runs alone
    rows = ["a", "fault", "b"]
    tasks = [client.send_task("mlq.predict", [row], queue="realtime", **options) for row in rows]
    assert user.run("queues", "resume", "realtime").returncode == 0
    answers = [task.get(timeout=30) for task in tasks]
    assert [row for row, _ in answers] == rows
    workers.wait_for("ended with exit code 70; starting it again")
    workers.wait_for("ready after", times=2)
    (second,) = workers.pids().values()
    assert dict(answers)["fault"] == second != first
    assert user.json("dead")["entries"] == []
    assert not broker_redis.exists(keys.CRASHES)
    computed = (user.directory / "computed.log").read_text().splitlines()
    assert sum(line.startswith(str(first)) and "fault" in line for line in computed) == 1, "it is not tried again there"
    (worker,) = user.json("worker")["workers"]
    assert (worker["state"], worker["restarts"]) == ("idle", 1)


def test_a_row_that_breaks_every_device_becomes_a_dead_letter(user: User, client: Celery, start: Start) -> None:
    """An index out of range breaks the CUDA context of each worker that computes the row.

    The workers must survive that.
    """
    user.write("fragile.py", FRAGILE)
    workers = start("--cpus", "1", model="fragile.py:Model")
    assert user.run("queues", "pause", "realtime").returncode == 0
    tasks = [client.send_task("mlq.predict", [row], queue="realtime") for row in ("a", "always", "b")]
    assert user.run("queues", "resume", "realtime").returncode == 0
    before, broken, after = tasks
    assert [task.get(timeout=60)[0] for task in (before, after)] == ["a", "b"]
    assert isinstance(broken.get(timeout=60, propagate=False), Exception)
    (letter,) = user.json("dead")["entries"]
    assert (letter["task_id"], letter["reason"]) == (broken.id, "crash")
    assert "RuntimeError: CUDA error: device-side assert triggered" in "\n".join(workers.lines)
    assert client.send_task("mlq.predict", ["next"]).get(timeout=60)[0] == "next"
