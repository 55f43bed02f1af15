"""A server with full memory, and work that follows from other work: what cannot be recorded waits, and runs once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from celery import Celery, chain, chord, group

from chaos.faultkit import World, until
from chaos.stock_client import stock_client, wait_for_no_result
from tests.faults import ran_log

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # Celery's client, which redis-py warns

FULL = 16 * 2**20
EACH = 4

OWN = """
import os, time
from celery import shared_task

@shared_task(name="own.part")
def part(name, *before):
    while not os.path.exists("gate"):
        time.sleep(0.01)
    ran(name)
    return name

@shared_task(name="own.after")
def after(before, name):
    ran(name)
    return name

@shared_task(name="own.again", bind=True)
def again(self, name):
    part.run(f"{name}.{self.request.retries}")
    if not self.request.retries:
        raise self.retry(countdown=0.1)
    return name

@shared_task(name="own.tells", bind=True)
def tells(self, name):
    part.run(name)
    self.update_state(state="HALFWAY", meta={"name": name})
    return name

@shared_task(name="own.spreads")
def spreads(name):
    part.run(name)
    part.delay(f"{name}.child")
    return name

@shared_task(name="own.fails")
def fails(name):
    part.run(name)
    raise ValueError(name)
"""


Task: TypeAlias = Callable[..., Any]
"""Makes the signature of a task of the worker's, of its name and its arguments."""


def a_chord(task: Task, n: int) -> Any:
    """Parts and a body."""
    return chord([task("part", f"chord{n}.{i}") for i in range(3)], task("after", f"chord{n}.body"))


def a_chain(task: Task, n: int) -> Any:
    """Three steps."""
    return chain(task("part", f"chain{n}.0"), *(task("after", f"chain{n}.{i}") for i in (1, 2)))


def a_group(task: Task, n: int) -> Any:
    """Tasks with a link each."""
    linked = [(task("part", f"group{n}.{i}"), task("after", f"group{n}.{i}.link")) for i in range(2)]
    for one, link in linked:
        one.link(link)
    return group(one for one, _ in linked)


def a_chain_into_a_chord(task: Task, n: int) -> Any:
    """The worker itself begins the chord, and with it its count of parts."""
    parts = group(task("after", f"into{n}.{i}") for i in (1, 2))
    return chain(task("part", f"into{n}.0"), parts, task("after", f"into{n}.body"))


def a_failing_chord(task: Task, n: int) -> Any:
    """One part fails, and the body fails with it."""
    return chord([task("part", f"failing{n}.0"), task("fails", f"failing{n}.1")], task("after", f"failing{n}.body"))


KINDS: dict[str, tuple[Callable[[Task, int], Any], int]] = {
    "chord": (a_chord, 4),
    "chain": (a_chain, 3),
    "group": (a_group, 4),
    "chain into a chord": (a_chain_into_a_chord, 4),
    "retry": (lambda task, n: task("again", f"retry{n}"), 2),
    "state": (lambda task, n: task("tells", f"state{n}"), 1),
    "child": (lambda task, n: task("spreads", f"child{n}"), 2),
    "failing chord": (a_failing_chord, 2),
}
"""What is sent, and how many runs each brings."""


@contextmanager
def full_memory(world: World) -> Iterator[None]:
    """Fill the server; work goes on, and answers go beyond the limit."""
    world.redis.set("filler", b"x" * 2 * FULL)
    world.redis.config_set("maxmemory", FULL)
    yield
    world.redis.config_set("maxmemory", 0)
    world.redis.delete("filler")


@contextmanager
def refused(world: World) -> Iterator[None]:
    """Refuse every write, as a primary without its replicas does; until it is seen by both workers."""
    world.redis.config_set("min-replicas-to-write", 1)
    yield
    both_say(world, "trying again until")
    world.redis.config_set("min-replicas-to-write", 0)


@contextmanager
def frozen(world: World) -> Iterator[None]:
    """Stop the server where it is, until both workers have noticed."""
    pid = int(world.redis.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        both_say(world, "trying again until")
    finally:
        os.kill(pid, signal.SIGCONT)


WEATHER: dict[str, Callable[[World], AbstractContextManager[None]]] = {
    "full": full_memory,
    "refused": refused,
    "frozen": frozen,
}


def both_say(world: World, text: str) -> None:
    """Wait until the logs of both workers hold a text."""
    logs = [worker.log for worker in world.workers]
    until(lambda: all(text in log.read_text() for log in logs), f"both say {text!r}", why_not=world.whereabouts)


def ran(world: World) -> Counter[str]:
    """Count what ran."""
    return Counter(ran_log.read(world))


def told(world: World) -> str:
    """Say what ran and where the rest is, for the message of a test that fails."""
    return f"{ran(world)}\n{world.whereabouts()}"


@pytest.fixture
def client(world: World) -> Iterator[Celery]:
    """A stock client that knows where results are."""
    with stock_client(world._direct) as app:
        app.conf.task_default_queue = "default"
        wait_for_no_result(app)  # a result could be collected while the server answers nothing
        yield app


def begin(world: World, client: Celery, kinds: Iterable[str], **environment: str) -> int:
    """Start two workers, send of each kind, and wait until both have tasks that wait for the gate; count the runs."""
    (world.directory / "own.py").write_text(ran_log.WRITER + OWN)
    for name in ("a", "b"):
        world.start(name, MLQ_WORKER_IMPORTS="own", **environment).wait_ready()

    def task(name: str, *args: Any) -> Any:
        return client.signature(f"own.{name}", args=args)

    runs = 0
    for make, each in map(KINDS.__getitem__, kinds):
        for n in range(EACH):
            make(task, n).apply_async()
            runs += each
    until(lambda: len(world.redis.keys("mlq:claims:*")) == 2, "both are at work", why_not=world.whereabouts)
    return runs


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_from_work_completes_while_memory_is_full(world: World, client: Celery, kind: str) -> None:
    """Chords are counted with plain commands, which a full server refuses: parts ran 534 times in 12 s, and failed."""
    runs = begin(world, client, [kind])
    with full_memory(world):
        Path(world.directory / "gate").touch()
        finished(world, runs)
    once(world)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("weather", WEATHER)
def test_what_cannot_be_recorded_waits_and_nothing_runs_twice(world: World, client: Celery, weather: str) -> None:
    """Whatever the reason: its body has run, so it waits, and what follows with it, until it can be recorded."""
    runs = begin(world, client, KINDS)
    with WEATHER[weather](world):
        Path(world.directory / "gate").touch()
        until(lambda: bool(ran(world)), "a body has run", why_not=lambda: told(world))
    finished(world, runs)
    once(world)


def finished(world: World, runs: int) -> None:
    """Wait until all has run and nothing is left."""
    until(lambda: sum(ran(world).values()) >= runs, f"{runs} runs", 90, lambda: told(world))
    until(lambda: not world.left(), "nothing is left", 60, lambda: told(world))


def once(world: World) -> None:
    """Demand that each task ran once, and that the workers live."""
    assert set(ran(world).values()) == {1}, ran(world)
    assert {worker.stop() for worker in world.workers} == {0}
