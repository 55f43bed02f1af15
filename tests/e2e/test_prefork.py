"""Celery's own prefork pool under mlq's supervisor keeps Celery's promises for stock clients."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded, WorkerLostError
from redis import Redis

from tests.conftest import is_alive

TASKS = '''
import time
from pathlib import Path
from celery import shared_task

@shared_task(name="own.wait")
def wait(gate):
    """Say that it runs, then wait for a file."""
    Path(gate + ".began").touch()
    while not Path(gate).exists():
        time.sleep(0.01)
    return gate

@shared_task(name="own.sleep", soft_time_limit=0.2)
def sleep():
    time.sleep(60)
'''


def only_worker(user: Any) -> dict[str, Any]:
    """Return the only listed worker."""
    (worker,) = user.json("worker")["workers"]
    found: dict[str, Any] = worker
    return found


def test_each_process_loads_the_model_once_and_the_pool_grows_with_the_work(
    user: Any, client: Celery, start: Any
) -> None:
    """Celery's autoscaler grows the pool from one process to two; the answered rows of both are counted."""
    workers = start("--pool", "prefork", "--concurrency", "1-2")
    gate = user.directory / "gate"
    one, other = (client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime") for _ in range(2))
    user.until(lambda: len(psutil.Process(workers.pids()["pool0"]).children()) == 2, "there is a second process")
    user.until(lambda: only_worker(user)["state"] == "busy", "it is busy")
    assert only_worker(user)["task"] in {one.id, other.id}
    log = Path(user.environment["MODEL_LOG"])
    user.until(lambda: log.exists() and log.read_text().count("start ") == 2, "both run at once")
    gate.touch()
    assert len({task.get(timeout=60)["pid"] for task in (one, other)}) == 2
    assert client.send_task("mlq.batch_predict", [[1, 2, 3]]).get(timeout=60)[2]["row"] == 3
    user.until(lambda: (w := only_worker(user))["state"] == "idle" and w["rows_done"] == 5, "five rows are counted")
    assert (only_worker(user)["tasks_done"], only_worker(user)["device"]) == (3, "cpu")
    assert only_worker(user)["fingerprint"]
    assert workers.end() == 0


def test_a_file_is_answered_by_a_pool(user: Any, broker: str, start: Any) -> None:
    """A client that submits a file needs to know nothing about the workers."""
    assert broker
    start("--pool", "prefork", "--concurrency", "2")
    user.write("rows.jsonl", "".join(f"{n}\n" for n in range(300)))
    done = user.run("submit", "rows.jsonl", "--wait", "-o", "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert len((user.directory / "out.jsonl").read_text().splitlines()) == 300


def test_a_pool_that_lost_its_connection_still_reports_what_it_does(
    user: Any, client: Celery, start: Any, broker: str
) -> None:
    """With each new connection Celery drops the reader of the pool's counts.

    Without one the pool finally stands still.
    """
    workers = start("--pool", "prefork", "--concurrency", "1")
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://")) as redis:
        redis.client_kill_filter(_type="normal", skipme=True)
        redis.client_kill_filter(_type="pubsub", skipme=True)
    workers.wait_for("Connection to broker lost")
    assert client.send_task("mlq.batch_predict", [[1, 2, 3]], queue="realtime").get(timeout=60)[2]["row"] == 3
    user.until(lambda: only_worker(user)["rows_done"] == 3, "the rows are counted")


def test_a_killed_process_fails_its_task_alone_and_is_replaced(user: Any, client: Celery, start: Any) -> None:
    """As in stock Celery, the client gets WorkerLostError. The other processes and the worker go on."""
    user.write("own.py", TASKS)
    workers = start("--pool", "prefork", "--concurrency", "2", MLQ_WORKER_IMPORTS="own")
    main = psutil.Process(workers.pids()["pool0"])
    gate = user.directory / "gate"
    fine = client.send_task("own.wait", [str(gate)], queue="default")
    user.until(lambda: Path(f"{gate}.began").exists(), "the row that succeeds runs")
    doomed = client.send_task("mlq.predict", [{"wait_for": str(user.directory / "never")}], queue="realtime")
    log = Path(user.environment["MODEL_LOG"])
    user.until(lambda: log.exists() and "start " in log.read_text(), "the row that fails runs")
    os.kill(int(log.read_text().split()[-1]), signal.SIGKILL)
    with pytest.raises(WorkerLostError):
        doomed.get(timeout=60)
    gate.touch()
    assert fine.get(timeout=60) == str(gate)
    assert client.send_task("mlq.predict", [7], queue="realtime").get(timeout=60)["row"] == 7
    assert (main.is_running(), only_worker(user)["restarts"]) == (True, 0)
    with pytest.raises(SoftTimeLimitExceeded):
        client.send_task("own.sleep", queue="default").get(timeout=60)


def test_no_process_of_a_pool_outlives_its_supervisor(user: Any, broker: str, start: Any) -> None:
    """The pool's processes, busy or not, die with the worker, and the worker with its supervisor."""
    assert broker
    workers = start("--pool", "prefork", "--concurrency", "2")
    main = psutil.Process(workers.pids()["pool0"])
    user.until(lambda: len(main.children()) == 2, "both processes are there")
    processes = [main, *main.children()]
    workers.process.kill()
    user.until(lambda: not any(map(is_alive, processes)), "none is left")


def test_a_pool_serves_tasks_without_a_model_and_says_what_it_lacks(user: Any, client: Celery, start: Any) -> None:
    """Rows that are sent to it fail, and their client can read the reason."""
    user.write("own.py", TASKS)
    gate = user.directory / "gate"
    gate.touch()
    pool = ("--pool", "prefork", "--concurrency", "1", "--queues", "default")
    start(*pool, model=None, MLQ_WORKER_IMPORTS="own")
    assert client.send_task("own.wait", [str(gate)], queue="default").get(timeout=60) == str(gate)
    with pytest.raises(Exception, match="no model to serve"):
        client.send_task("mlq.predict", [1], queue="default").get(timeout=60)


def test_a_pool_whose_model_does_not_load_takes_no_message(user: Any, broker: str) -> None:
    """The model is loaded before the pool consumes; the exit code is 3, with the reason."""
    assert broker
    done = user.run("worker", "start", "--pool", "prefork", "--model", "serve.py:Missing")
    assert done.returncode == 3
    assert "cannot load the model" in done.stderr


def test_another_model_is_refused_in_a_pool_too(user: Any, broker: str, start: Any) -> None:
    """A pool has no lease, so the heartbeats of the workers show which model each one has."""
    assert broker
    user.write("other.py", (user.directory / "serve.py").read_text() + "\n")
    start("--pool", "prefork", "--concurrency", "1", "--queues", "realtime")
    solo = user.run("worker", "start", "--cpus", "1", "--queues", "realtime", "--model", "other.py:Model")
    pool = user.run("worker", "start", "--pool", "prefork", "--queues", "realtime", "--model", "other.py:Model")
    for refused in (solo, pool):
        assert refused.returncode == 3, refused.stderr
        assert "serves queue realtime with model" in refused.stderr
