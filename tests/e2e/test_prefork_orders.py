"""The time limits of a pool, and orders to it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from celery import Celery
from celery.exceptions import TimeLimitExceeded

from tests.conftest import Start, User

TASKS = '''
import os, time
from pathlib import Path
from celery import shared_task

@shared_task(name="own.wait")
def wait(gate):
    """Say that it runs, then wait for a file."""
    Path(gate + ".began").touch()
    while not Path(gate).exists():
        time.sleep(0.01)
    return os.getpid()
'''


@pytest.fixture
def gate_file(user: User) -> Path:
    """Return a file to wait for, and write the task that waits for it."""
    user.write("own.py", TASKS)
    return user.directory / "gate"


def test_a_time_limit_ends_one_task_of_a_pool_and_the_others_go_on(
    user: User, client: Celery, start: Start, gate_file: Path
) -> None:
    """Its process is replaced; the other processes and the worker are not."""
    pool = ("--pool", "prefork", "--concurrency", "2", "--time-limit", "2")
    workers = start(*pool, MLQ_WORKER_IMPORTS="own")
    main = psutil.Process(workers.pids()["pool0"])
    before = {p.pid for p in main.children()}
    stuck = client.send_task("own.wait", [str(gate_file)], queue="default")
    user.until(Path(f"{gate_file}.began").exists, "it is stuck")
    beside = [client.send_task("mlq.predict", [n], queue="realtime").get(timeout=30)["row"] for n in range(5)]
    assert beside == list(range(5))
    with pytest.raises(TimeLimitExceeded):
        stuck.get(timeout=30)
    user.until(lambda: len({p.pid for p in main.children()} - before) == 1, "its process is replaced")
    assert len({p.pid for p in main.children()} & before) == 1
    gate_file.touch()
    assert client.send_task("own.wait", [str(gate_file)], queue="default").get(timeout=30)
    (worker,) = user.json("worker")["workers"]
    assert (worker["restarts"], main.is_running()) == (0, True)


def test_a_drained_pool_finishes_its_running_tasks(user: User, client: Celery, start: Start, gate_file: Path) -> None:
    """All its processes do. The pool takes no more tasks, and its supervisor ends with it, with exit code 0."""
    workers = start("--pool", "prefork", "--concurrency", "2", MLQ_WORKER_IMPORTS="own")
    tasks = [client.send_task("own.wait", [f"{gate_file}.{n}"], queue="default") for n in range(2)]
    user.until(lambda: all(Path(f"{gate_file}.{n}.began").exists() for n in range(2)), "both processes are busy")
    waited = user.run("worker", "drain", "pool0", "--timeout", "0.5")
    assert waited.returncode == 7
    assert "the order remains in force" in waited.stderr
    user.until(lambda: user.json("worker")["workers"][0]["state"] == "draining", "it drains")
    left = client.send_task("mlq.predict", [1], queue="realtime")
    for n in range(2):
        user.write(f"gate.{n}", "")
    assert len({task.get(timeout=30) for task in tasks}) == 2
    assert workers.wait() == 0
    assert left.state == "PENDING"
    assert [q["ready"] for q in user.json("queues")["queues"] if q["name"] == "realtime"] == [1]
