"""Full memory, and tasks that lead to other tasks: an end that cannot be recorded waits, and no task runs twice."""

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

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # raised by Celery's client

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
"""A function that returns the signature of a worker's task from its name and its arguments."""


def make_chord(task: Task, n: int) -> Any:
    """Return a chord of parts and a body."""
    return chord([task("part", f"chord{n}.{i}") for i in range(3)], task("after", f"chord{n}.body"))


def make_chain(task: Task, n: int) -> Any:
    """Return a chain of three steps."""
    return chain(task("part", f"chain{n}.0"), *(task("after", f"chain{n}.{i}") for i in (1, 2)))


def make_group(task: Task, n: int) -> Any:
    """Return a group of tasks with one link each."""
    linked = [(task("part", f"group{n}.{i}"), task("after", f"group{n}.{i}.link")) for i in range(2)]
    for one, link in linked:
        one.link(link)
    return group(one for one, _ in linked)


def make_chain_into_chord(task: Task, n: int) -> Any:
    """Return a chain that ends in a chord, which the worker starts, with its count of parts."""
    parts = group(task("after", f"into{n}.{i}") for i in (1, 2))
    return chain(task("part", f"into{n}.0"), parts, task("after", f"into{n}.body"))


def make_failing_chord(task: Task, n: int) -> Any:
    """Return a chord of which one part fails, and the body with it."""
    return chord([task("part", f"failing{n}.0"), task("fails", f"failing{n}.1")], task("after", f"failing{n}.body"))


KINDS: dict[str, tuple[Callable[[Task, int], Any], int]] = {
    "chord": (make_chord, 4),
    "chain": (make_chain, 3),
    "group": (make_group, 4),
    "chain into a chord": (make_chain_into_chord, 4),
    "retry": (lambda task, n: task("again", f"retry{n}"), 2),
    "state": (lambda task, n: task("tells", f"state{n}"), 1),
    "child": (lambda task, n: task("spreads", f"child{n}"), 2),
    "failing chord": (make_failing_chord, 2),
}
"""The kinds of tasks that are sent, and the number of runs of each."""


@contextmanager
def fill_memory(world: World) -> Iterator[None]:
    """Fill the server. Workers go on, and answers are stored beyond the limit."""
    world.redis.set("filler", b"x" * 2 * FULL)
    world.redis.config_set("maxmemory", FULL)
    yield
    world.redis.config_set("maxmemory", 0)
    world.redis.delete("filler")


@contextmanager
def refuse_writes(world: World) -> Iterator[None]:
    """Refuse every write, as a primary without replicas does, until both workers have noticed."""
    world.redis.config_set("min-replicas-to-write", 1)
    yield
    wait_for_both_logs(world, "trying again until")
    world.redis.config_set("min-replicas-to-write", 0)


@contextmanager
def freeze_server(world: World) -> Iterator[None]:
    """Freeze the server until both workers have noticed."""
    pid = int(world.redis.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        wait_for_both_logs(world, "trying again until")
    finally:
        os.kill(pid, signal.SIGCONT)


FAULTS: dict[str, Callable[[World], AbstractContextManager[None]]] = {
    "full": fill_memory,
    "refused": refuse_writes,
    "frozen": freeze_server,
}


def wait_for_both_logs(world: World, text: str) -> None:
    """Wait until the logs of both workers contain a text."""
    logs = [worker.log for worker in world.workers]
    until(lambda: all(text in log.read_text() for log in logs), f"both say {text!r}", why_not=world.whereabouts)


def count_runs(world: World) -> Counter[str]:
    """Count the runs."""
    return Counter(ran_log.read(world))


def describe_state(world: World) -> str:
    """Return the runs and the places of the other tasks, for the message of a failed test."""
    return f"{count_runs(world)}\n{world.whereabouts()}"


@pytest.fixture
def client(world: World) -> Iterator[Celery]:
    """Return a stock client that can read the results."""
    with stock_client(world._direct) as app:
        app.conf.task_default_queue = "default"
        wait_for_no_result(app)  # a result could be garbage-collected while the server does not answer
        yield app


def begin(world: World, client: Celery, kinds: Iterable[str], **environment: str) -> int:
    """Start two workers, send each kind, and wait until both have tasks that wait for the gate. Count the runs."""
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
def test_chords_chains_and_links_complete_while_memory_is_full(world: World, client: Celery, kind: str) -> None:
    """Chords were counted with plain commands, which a full server refuses: parts ran 534 times in 12 s, and failed."""
    runs = begin(world, client, [kind])
    with fill_memory(world):
        Path(world.directory / "gate").touch()
        wait_until_finished(world, runs)
    check_runs(world)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", FAULTS)
def test_an_end_that_cannot_be_recorded_waits_and_no_task_runs_twice(world: World, client: Celery, fault: str) -> None:
    """For any reason: the body has run, so its end and the tasks that follow wait until they can be recorded."""
    runs = begin(world, client, KINDS)
    with FAULTS[fault](world):
        Path(world.directory / "gate").touch()
        until(lambda: bool(count_runs(world)), "a body has run", why_not=lambda: describe_state(world))
    wait_until_finished(world, runs)
    check_runs(world)


def wait_until_finished(world: World, runs: int) -> None:
    """Wait until all tasks have run and no key is left."""
    until(lambda: sum(count_runs(world).values()) >= runs, f"{runs} runs", 90, lambda: describe_state(world))
    until(lambda: not world.left(), "nothing is left", 60, lambda: describe_state(world))


def check_runs(world: World) -> None:
    """Check that each task ran once, and that the workers live."""
    assert set(count_runs(world).values()) == {1}, count_runs(world)
    assert {worker.stop() for worker in world.workers} == {0}
