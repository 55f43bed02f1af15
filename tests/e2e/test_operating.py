"""Workers are listed, stopped and restarted from any host, and their supervisor keeps their leases."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from mlq.protocol import keys

HOLDS_THE_GIL = """    def predict(self, rows):
        import ctypes
        ctypes.PyDLL(None).usleep(6_000_000)  # a PyDLL, unlike a CDLL, does not release the GIL
        return rows
"""


def states(user: Any) -> dict[str, str]:
    """Return each worker's state."""
    return {w["name"]: w["state"] for w in user.json("worker")["workers"]}


def test_a_call_that_holds_the_gil_for_two_leases_does_not_cost_the_lease(
    user: Any, client: Celery, start: Any
) -> None:
    """A thread in the worker could not run. Its supervisor renews the lease, and reports the worker as busy."""
    user.write("holds.py", f"class Model:\n    def setup(self, device): ...\n{HOLDS_THE_GIL}")
    workers = start("--cpus", "1", model="holds.py:Model")
    pid = workers.pids()["cpu0"]
    task = client.send_task("mlq.predict", [1], queue="realtime")
    user.until(lambda: states(user) == {"cpu0": "busy"}, "it is busy")
    assert task.get(timeout=60) == 1
    (worker,) = user.json("worker")["workers"]
    assert (worker["pid"], worker["restarts"]) == (pid, 0)


def test_the_messages_of_a_dead_host_run_elsewhere(user: Any, client: Celery, start: Any) -> None:
    """The workers die with their supervisor. The supervisor of another host sees that the leases are not renewed."""
    gate = user.directory / "gate"
    doomed = start("--cpus", "1", "--name", "doomed")
    task = client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime")
    user.until(lambda: states(user) == {"doomed-cpu0": "busy"}, "it is busy")
    start("--cpus", "1", "--name", "heir")
    doomed.process.kill()
    doomed.wait()
    gate.touch()
    assert task.get(timeout=60)["row"] == {"wait_for": str(gate)}
    assert task.status == "SUCCESS"


def test_a_frozen_worker_is_listed_as_hung(user: Any, start: Any) -> None:
    """It cannot report that, and Celery's monitors would list it as healthy."""
    workers = start("--cpus", "2", ready=2)
    os.kill(workers.pids()["cpu0"], signal.SIGSTOP)
    user.until(lambda: states(user) == {"cpu0": "hung", "cpu1": "idle"}, "the frozen one is hung")
    os.kill(workers.pids()["cpu0"], signal.SIGCONT)
    user.until(lambda: states(user) == {"cpu0": "idle", "cpu1": "idle"}, "it came back")


def test_a_slot_that_was_given_up_is_still_listed(user: Any, start: Any) -> None:
    """An operator looks for exactly the worker that no longer runs."""
    workers = start("--cpus", "2", ready=2)
    user.write("serve.py", "raise RuntimeError('broken while it ran')")
    os.kill(workers.pids()["cpu0"], signal.SIGKILL)
    workers.wait_for("cpu0 failed")
    user.until(lambda: states(user) == {"cpu0": "failed", "cpu1": "idle"}, "the failed one is listed")
    done = user.run("worker", "restart", "cpu1", "--json")
    assert done.returncode == 1
    assert "cpu1@" in done.stderr
    assert workers.wait() == 3


def test_a_drained_worker_finishes_its_task_and_the_other_goes_on(user: Any, client: Celery, start: Any) -> None:
    """The order names the worker, and may come from any host.

    The supervisor ends with its last worker, with exit code 0.
    """
    workers = start("--cpus", "2", ready=2)
    gate = user.directory / "gate"
    task = client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime")
    user.until(lambda: "busy" in states(user).values(), "one is busy")
    (busy,) = [name for name, state in states(user).items() if state == "busy"]
    waited = user.run("worker", "drain", busy, "--timeout", "0.5")
    assert waited.returncode == 7
    assert "the order remains in force" in waited.stderr
    user.until(lambda: states(user)[busy] == "draining", "it drains")
    gate.touch()
    assert task.get(timeout=30)["row"] == {"wait_for": str(gate)}
    user.until(lambda: busy not in states(user), "it has ended")
    assert client.send_task("mlq.predict", ["more"], queue="realtime").get(timeout=30)["row"] == "more"
    assert user.run("worker", "drain", "--all").returncode == 0
    assert workers.wait() == 0


def test_stop_gives_back_a_task_that_runs_past_the_deadline(user: Any, client: Celery, start: Any) -> None:
    """It returns to the head of its queue, and no crash is counted."""
    workers = start("--cpus", "1")
    client.send_task("mlq.predict", [{"sleep": 600}], queue="realtime")
    user.until(lambda: states(user) == {"cpu0": "busy"}, "it is busy")
    assert user.run("worker", "stop", "cpu0", "--drain-timeout", "0").returncode == 0
    assert workers.wait() == 0
    with Redis(unix_socket_path=user.broker_url.removeprefix("redis+socket://")) as redis:
        assert redis.llen("realtime") == 1
        assert not redis.exists(keys.CRASHES)
        assert not redis.exists(keys.ORDERS)


def test_a_rolling_restart_serves_all_the_time(user: Any, start: Any) -> None:
    """Each worker is ready before the next one stops, so at least one always serves."""
    workers = start("--cpus", "2", ready=2)
    before = workers.pids()
    done = user.run("worker", "restart", "--all", "--rolling")
    assert done.returncode == 0, done.stderr
    workers.wait_for("ready after", times=4)
    lives = [line.split(" |")[0] for line in workers.lines if "shutdown" in line or "ready after" in line]
    assert lives[2:] in (["cpu0", "cpu0", "cpu1", "cpu1"], ["cpu1", "cpu1", "cpu0", "cpu0"])
    assert set(workers.pids().values()).isdisjoint(before.values())


@pytest.mark.parametrize(
    ("words", "code"), [(["drain"], 2), (["stop", "nobody"], 5), (["restart", "--all", "--host", "nowhere"], 5)]
)
def test_an_order_must_name_its_workers(user: Any, start: Any, words: list[str], code: int) -> None:
    """An order without names does not mean all workers, and an unknown name is an error."""
    start("--cpus", "1")
    assert user.run("worker", *words).returncode == code
