"""Frozen processes: a worker, and the server."""

from __future__ import annotations

import os
import signal
import time

import pytest

from chaos.faultkit import World, stand_still, until
from mlq.broker import embedded


def test_a_message_that_arrives_while_the_watcher_is_frozen_is_answered_by_another(world: World) -> None:
    """Only the watcher is rung. The others poll each second, and one takes over the role when it expires."""
    watcher, other = world.start("watcher"), world.start("other")
    for worker in (watcher, other):
        worker.wait_ready()
    until(lambda: bool(world.redis.hlen("mlq:watches")), "a worker watches")
    if b":other:" in next(iter(world.redis.hgetall("mlq:watches").values())):
        watcher, other = other, watcher
    watcher.freeze()
    task = world.send()
    world.answered(10)
    assert world.result(task)["pid"] == other.pid
    watcher.kill()
    assert other.stop() == 0
    world.check()


def test_a_frozen_worker_that_was_taken_for_dead_can_record_nothing(world: World) -> None:
    """Its message runs elsewhere. When it wakes, its results are refused, and it ends and is replaced."""
    gate = world.directory / "gate"
    zombie = world.start("zombie")
    zombie.wait_ready()
    task = world.send({"gate": str(gate)})
    until(lambda: world.has_begun(task), "the message runs")
    zombie.freeze()
    heir = world.start("heir")
    until(lambda: world.starts()[task] == 2, "it runs again elsewhere", 30, world.whereabouts)
    gate.touch()
    world.answered()
    zombie.thaw()
    assert zombie.process.wait(30) == 76
    assert world.result(task)["pid"] == heir.pid
    assert heir.stop() == 0
    world.check()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seconds", [2, 30])
def test_a_server_that_freezes_for_a_while_costs_only_time(world: World, faulty: embedded.Server, seconds: int) -> None:
    """Every lease has expired when it goes on. No worker is dead, so none may be treated as dead."""
    workers = [world.start(name) for name in ("a", "b", "c")]
    for worker in workers:
        worker.wait_ready()
    for _ in range(400):
        world.send({"sleep": 0.005})
    until(lambda: len(world.starts()) > 40, "the workers are under load")
    assert faulty.pid is not None
    os.kill(faulty.pid, signal.SIGSTOP)
    try:
        stand_still(faulty.pid)
        time.sleep(seconds)  # the fault itself: the duration of the freeze
    finally:
        os.kill(faulty.pid, signal.SIGCONT)
    world.answered()
    later = world.send()
    world.answered()
    assert world.starts()[later] == 1
    assert all(worker.lives for worker in workers), world.whereabouts()
    assert {worker.stop() for worker in workers} == {0}
    world.check()
