"""A server whose memory is full: it accepts no new work, so the existing work must be finished."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos.faultkit import World, until

FULL = 16 * 2**20
LONG_MS = 13_000
"""Longer than every timer of kombu and Celery, each of which may try to write a key."""


@contextmanager
def fill_memory(world: World) -> Iterator[None]:
    """Fill the server beyond its limit with the key of another client, which is deleted at the end."""
    world.redis.set("filler", b"x" * 2 * FULL)
    world.redis.config_set("maxmemory", FULL)
    yield
    world.redis.config_set("maxmemory", 0)
    world.redis.delete("filler")


def start_submit(world: World) -> subprocess.Popen[str]:
    """Start `mlq submit` as a user does."""
    rows = world.directory / "rows.json"
    rows.write_text('[{"id": "1"}, {"id": "2"}]')
    command = [str(Path(sys.executable).with_name("mlq")), "submit", str(rows), "--wait"]
    return subprocess.Popen(
        command,
        env=world.environment,
        cwd=world.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_workers_empty_a_full_server_while_submit_waits(world: World) -> None:
    """A stock worker exits at its next write, which may be an acknowledgement, and its result is lost."""
    workers = [world.start(name) for name in ("a", "b")]
    for worker in workers:
        worker.wait_ready()
    gate = world.directory / "gate"
    for _ in range(300):
        world.send({"gate": str(gate)})
    until(lambda: len(world.starts()) >= 2, "both are at work")
    with fill_memory(world):
        gate.touch()
        world.answered()
        submitted = start_submit(world)
        before = world.leases()
        until(
            lambda: all(at > before[wid] + LONG_MS for wid, at in world.leases().items()),
            "the leases were renewed for several times their length",
            why_not=world.whereabouts,
        )
        assert world.leases().keys() == before.keys()
        assert submitted.poll() is None, "it waits, and drops nothing"
    answers, log = submitted.communicate(timeout=60)
    assert submitted.returncode == 0, log
    assert log.count("memory is nearly full; waiting until there is room") == 1
    assert len(answers.splitlines()) == 2
    until(lambda: not world.left(), "later messages are answered, too", why_not=world.whereabouts)
    assert {worker.stop() for worker in workers} == {0}
    answered = {task_id: n for (task_id, _), n in world.recorded().items()}
    assert {i: answered.get(i) for i in world.sent} == dict.fromkeys(world.sent, 1)


def test_a_worker_that_starts_while_memory_is_full_empties_the_queue(world: World) -> None:
    """Otherwise no worker could empty the server after the last one has died."""
    tasks = [world.send() for _ in range(20)]
    with fill_memory(world):
        worker = world.start("late")
        world.answered(30)
        assert worker.lives
    assert {world.result(task)["pid"] for task in tasks} == {worker.pid}
    assert worker.stop() == 0
    world.check()


@pytest.mark.parametrize("limit", [1, None], ids=["one-byte", "what-is-used"])
def test_workers_that_lose_their_connections_while_memory_is_full_come_back(world: World, limit: int | None) -> None:
    """Redis 7 then refuses every command in MULTI, in which kombu declares queues.

    No worker reconnected, and all logged errors.
    """
    idle, busy = world.start("idle"), world.start("busy")
    for worker in (idle, busy):
        worker.wait_ready()
    gate = world.directory / "gate"
    for _ in range(50):
        world.send({"gate": str(gate)})
    until(lambda: len(world.starts()) >= 2, "both are at work")
    used = world.redis.info("memory")["used_memory"]
    world.redis.config_set("maxmemory", limit or used)
    world.redis.client_kill_filter(_type="normal", skipme=True)
    world.redis.client_kill_filter(_type="pubsub")
    gate.touch()
    world.answered(30)
    world.redis.client_kill_filter(_type="normal", skipme=True)  # both workers are idle now
    world.redis.config_set("maxmemory", 0)
    task = world.send()
    world.answered(30)
    assert world.result(task)["pid"] in {idle.pid, busy.pid}
    assert {worker.stop() for worker in (idle, busy)} == {0}
    log = "".join(worker.log.read_text() for worker in (idle, busy))
    assert "Traceback" not in log
    assert len(log) < 12_000, "a loss is a line, and no line is repeated"
    world.check()
