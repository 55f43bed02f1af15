"""Time limits work in a solo worker, where stock Celery ignores them, and recycling loses no task."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from mlq.store.messages.dead_letters import DeadLetters

STUCK = """
import ctypes, time
class Model:
    max_batch_size = 4
    def setup(self, device): ...
    def predict(self, rows):
        for row in rows:
            if row == "stuck":
                ctypes.PyDLL(None).usleep(600_000_000)  # a PyDLL, unlike a CDLL, does not release the GIL
            if isinstance(row, float):
                time.sleep(row)
        return rows
"""


@pytest.fixture
def hanging_model(user: Any) -> str:
    """Return a model that hangs in C with the GIL on request."""
    user.write("stuck.py", STUCK)
    return "stuck.py:Model"


def dead(user: Any) -> list[Any]:
    """Return the dead letters."""
    from redis import Redis

    with Redis(unix_socket_path=user.broker_url.removeprefix("redis+socket://")) as redis:
        letters = DeadLetters(redis)
        return [letters.read(i) for i in letters.ids()]


def test_a_soft_limit_keeps_the_answers_of_earlier_forwards(
    user: Any, client: Celery, start: Any, hanging_model: str
) -> None:
    """Each row that did not run in time is an error row that says so."""
    start("--cpus", "1", model=hanging_model)
    rows = [1, 2, 3, 4, 30.0, 6, 7, 8, 9, 10, 11, 12]
    answers = client.send_task("mlq.batch_predict", [rows], soft_time_limit=1).get(timeout=30)
    assert answers[:4] == [1, 2, 3, 4]
    assert {a["mlq.error"]["type"] for a in answers[4:]} == {"SoftTimeLimitExceeded"}
    assert user.json("worker")["workers"][0]["restarts"] == 0


def test_the_soft_limit_of_the_worker_fails_only_the_slow_row(
    user: Any, client: Celery, start: Any, hanging_model: str
) -> None:
    """The rows shared a forward, so each is tried alone."""
    start("--cpus", "1", "--soft-time-limit", "1", model=hanging_model)
    user.run("queues", "pause", "realtime")
    tasks = [client.send_task("mlq.predict", [row], queue="realtime") for row in (1, 30.0, 2)]
    user.run("queues", "resume", "realtime")
    assert [tasks[0].get(timeout=30), tasks[2].get(timeout=30)] == [1, 2]
    with pytest.raises(SoftTimeLimitExceeded):
        tasks[1].get(timeout=30)


def test_a_hard_limit_holds_while_c_code_holds_the_gil(
    user: Any, client: Celery, start: Any, hanging_model: str
) -> None:
    """The client gets the answer at once, the stacks are logged, and the message does not come back."""
    workers = start("--cpus", "1", model=hanging_model)
    with pytest.raises(TimeLimitExceeded):
        client.send_task("mlq.predict", ["stuck"], time_limit=1).get(timeout=30)
    (letter,) = dead(user)
    assert letter.circumstances["reason"] == "hard-time-limit"
    workers.wait_for("Timeout (0:00:01)!")
    workers.wait_for("stuck.py")
    assert client.send_task("mlq.predict", [1]).get(timeout=30) == 1


def test_rows_that_shared_a_forward_with_a_hanging_row_are_answered(
    user: Any, client: Celery, start: Any, hanging_model: str
) -> None:
    """The worker's limit covers the forward. Then each of its messages runs alone, and one is dead-lettered."""
    start("--cpus", "1", "--time-limit", "1", model=hanging_model)
    user.run("queues", "pause", "realtime")
    tasks = [client.send_task("mlq.predict", [row], queue="realtime") for row in (1, "stuck", 2, 3)]
    user.run("queues", "resume", "realtime")
    assert [tasks[n].get(timeout=60) for n in (0, 2, 3)] == [1, 2, 3]
    with pytest.raises(TimeLimitExceeded):
        tasks[1].get(timeout=60)
    assert [letter.circumstances["reason"] for letter in dead(user)] == ["hard-time-limit"]


def test_a_task_of_the_user_has_limits_too(user: Any, client: Celery, start: Any) -> None:
    """A soft limit is raised inside the task, a hard limit ends it."""
    user.write(
        "own_limits.py",
        "import time\nfrom celery import shared_task\n"
        "@shared_task(name='own.nap', soft_time_limit=1, acks_late=True)\ndef nap(): time.sleep(600)\n"
        "@shared_task(name='own.coma', time_limit=1, acks_late=True)\ndef coma(): time.sleep(600)\n",
    )
    start("--cpus", "1", MLQ_WORKER_IMPORTS="own_limits")
    with pytest.raises(SoftTimeLimitExceeded):
        client.send_task("own.nap", queue="default").get(timeout=30)
    with pytest.raises(TimeLimitExceeded):
        client.send_task("own.coma", queue="default").get(timeout=30)


def test_recycling_loses_no_task_and_runs_none_twice(user: Any, start: Any, broker: str) -> None:
    """After five tasks a worker ends and is replaced, under load and without backoff."""
    del broker
    workers = start("--cpus", "1", "--max-tasks", "5")
    user.write("rows.json", list(range(40)))
    done = user.run("submit", "rows.json", "--chunk", "1", "--wait", "--timeout", "60")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["result"]["row"] for line in done.stdout.splitlines()] == list(range(40))
    ran = Counter((user.directory / "model.log").read_text().split("start ")[1:])
    assert len(ran) == 40
    assert user.json("worker")["workers"][0]["restarts"] >= 2
    assert not [line for line in workers.lines if "again in" in line]
