"""One model per queue: another one is refused, a rollout admits it, and a new file reaches every worker."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery import Celery

MODEL = """
class Model:
    def setup(self, device): ...
    def predict(self, rows): return ["{}"] * len(rows)
"""


def fingerprints(user: Any) -> list[str]:
    """Return each worker's model fingerprint by its name."""
    return [w["fingerprint"] for w in user.json("worker")["workers"]]


def test_another_model_is_refused_on_a_served_queue_until_it_is_rolled_out(
    user: Any, client: Celery, start: Any
) -> None:
    """Otherwise clients would get answers of one model or the other by chance."""
    user.write("old.py", MODEL.format("old"))
    user.write("new.py", MODEL.format("new"))
    start("--cpus", "1", "--queues", "realtime", model="old.py:Model")
    (old,) = fingerprints(user)
    refused = user.run("worker", "start", "--cpus", "1", "--queues", "batch,realtime", "--model", "new.py:Model")
    assert refused.returncode == 3, refused.stderr
    assert "worker cpu0@" in refused.stderr
    assert f" serves queue realtime with model {old}, but" in refused.stderr
    assert "--rollout" in refused.stderr
    assert client.send_task("mlq.predict", [1], queue="realtime").get(timeout=60) == "old"
    start("--cpus", "1", "--queues", "realtime", "--rollout", model="new.py:Model")
    one, other = fingerprints(user)
    assert old == one != other


def test_a_rolling_restart_brings_a_new_file_to_every_worker(user: Any, client: Celery, start: Any) -> None:
    """The first restarted worker has another model than all others.

    It is admitted, because the order allows that once.
    """
    user.write("model.py", MODEL.format("old"))
    workers = start("--cpus", "2", "--queues", "realtime", model="model.py:Model", ready=2)
    (old,) = set(fingerprints(user))
    user.write("model.py", MODEL.format("new"))
    done = user.run("worker", "restart", "--all", "--rolling")
    assert done.returncode == 0, done.stderr
    (new,) = set(fingerprints(user))
    assert new != old
    assert client.send_task("mlq.predict", [1], queue="realtime").get(timeout=60) == "new"
    user.write("model.py", MODEL.format("newest"))
    os.kill(workers.pids()["cpu0"], signal.SIGKILL)
    workers.wait_for("cpu0 failed")
    assert client.send_task("mlq.predict", [1], queue="realtime").get(timeout=60) == "new"
