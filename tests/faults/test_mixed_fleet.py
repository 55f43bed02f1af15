"""The migration of a running service from stock Celery workers to mlq's, and back."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest

from chaos.faultkit import Worker, World, until

STOCK = '''
"""A service as it is before mlq: one task, whose model is loaded in its process."""
import os, sys
from celery import Celery, signals

sys.path.insert(0, os.path.dirname(__file__))
from serve import Model

url = os.environ["MLQ_BROKER_URL"]
app = Celery("app", broker=url, backend=url)
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)
model = Model()
model.setup("cpu")

@app.task(name="app.predict")
def predict(row):
    return model.answer(row)

@signals.worker_ready.connect
def ready(**_):
    os.write(int(os.environ["MLQ_STATUS_FD"]), b"ready\\n")
'''

ALIASES = json.dumps({"app.predict": "mlq.predict"})
IN_FLIGHT = 60


def keep_busy(world: World) -> None:
    """Keep the service under load."""
    world.keep_in_flight(IN_FLIGHT, lambda: {"sleep": 0.01}, task="app.predict")


def start(world: World, kind: str, number: int) -> Worker:
    """Start a worker of one kind, and keep the service under load until it is ready."""
    name = f"{kind}{number}"
    if kind == "mlq":
        worker = world.start(name, MLQ_ALIASES=ALIASES)
    else:
        options = ["--pool=solo", "--concurrency=1", "--loglevel=warning", "-n", f"{name}@%h"]
        command = [str(Path(sys.executable).with_name("celery")), "-A", "stock", "worker", *options]
        worker = world.run(command, name)

    def is_ready() -> bool:
        keep_busy(world)
        return worker.is_ready()

    until(is_ready, f"{name} is ready", why_not=world.whereabouts)
    return worker


def has_answered(world: World, worker: Worker) -> bool:
    """Return whether a worker has answered a message, and keep the service under load."""
    keep_busy(world)
    return any(begun.pid == worker.pid for begun in world.begun())


def has_ended(world: World, worker: Worker) -> bool:
    """Return whether a worker has drained, and keep the service under load."""
    keep_busy(world)
    return not worker.lives


@pytest.mark.timeout(240)
def test_stock_workers_are_replaced_one_by_one_under_load_and_back_again(world: World) -> None:
    """Clients and messages do not change, so a user who tries mlq can go back without draining the queues."""
    (world.directory / "stock.py").write_text(STOCK)
    fleet = [start(world, "stock", number) for number in range(3)]
    for kind in ("mlq", "stock"):
        for number in range(3):
            fleet.append(start(world, kind, number + 3))
            newest = fleet[-1]
            until(partial(has_answered, world, newest), f"{newest.log.name} answers")
            oldest = fleet.pop(0)
            oldest.process.terminate()
            until(partial(has_ended, world, oldest), "the oldest has ended")
            assert oldest.stop() == 0
    world.answered()
    assert {worker.stop() for worker in fleet} == {0}
    world.check()
    assert set(world.starts().values()) == {1}, "nothing ran twice"
