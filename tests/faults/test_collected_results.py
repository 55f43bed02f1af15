"""Tasks that send other tasks and drop their results while the server is away: dropping them blocks no thread."""

from __future__ import annotations

import pytest

from chaos import faultkit
from chaos.faultkit import World, until
from mlq.broker import embedded
from tests.faults import ran_log

OWN = """
import gc, os, threading, time
from celery import chord, group, shared_task
from celery.result import allow_join_result

@shared_task(name="own.part")
def part(name):
    ran(name)

def by_delay():
    with allow_join_result():  # Celery subscribes where a task may wait for another
        return [part.delay("a"), part.delay("b")]

SENT = {
    "group": lambda: group(part.si("a"), part.si("b")).apply_async(),
    "chord": lambda: chord([part.si("a")], part.si("b")).apply_async(),
    "group of chains": lambda: group(part.si("a") | part.si("b"), part.si("c")).apply_async(),
    "tasks": by_delay,
}

@shared_task(name="own.sends", trail=False)
def sends(kind, where):
    left = [SENT[kind]()]
    ran("sent")
    while not os.path.exists("gate"):
        time.sleep(0.01)
    if where == "in another":
        left.append(left)  # a cycle is collected in the thread in which the collector happens to run
    del left
    collector = threading.Thread(target=gc.collect)
    collector.start()
    collector.join()
    ran("went on")
"""


@pytest.mark.parametrize("where", ["in its thread", "in another"])
@pytest.mark.parametrize("kind", ["group", "chord", "group of chains", "tasks"])
def test_a_result_is_dropped_without_its_server(world: World, faulty: embedded.Server, kind: str, where: str) -> None:
    """Celery reconnects to cancel its subscription.

    Any thread may have to wait for ten minutes, even the one that renews leases.
    """
    (world.directory / "own.py").write_text(ran_log.WRITER + OWN)
    world.start("a", MLQ_WORKER_IMPORTS="own").wait_ready()
    world.producer.send_task("own.sends", [kind, where])
    until(lambda: "sent" in ran_log.read(world), "other work is sent", why_not=world.whereabouts)
    faulty.stop()
    (world.directory / "gate").touch()
    until(
        lambda: "went on" in ran_log.read(world), "it goes on without the server", 30, lambda: str(ran_log.read(world))
    )
    again = faultkit.serve(world.directory)
    try:
        until(lambda: not world.left(), "all is done", why_not=world.whereabouts)
        assert sorted(set(ran_log.read(world))) == sorted(ran_log.read(world)), "each ran once"
        assert "b" in ran_log.read(world)
        assert not world.redis.pubsub_channels("celery-task-meta-*"), "nothing subscribes again"
    finally:
        world.close()
        again.stop()
