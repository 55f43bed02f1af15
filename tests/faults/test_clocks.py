"""Hosts with wrong clocks: every wait and every age follows the server's clock, and a wrong clock is reported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection

from chaos.faultkit import Worker, World, until
from mlq.broker.server_time import ServerClock
from mlq.engine.celery.transport import _QoS
from mlq.protocol import keys
from mlq.store.queues import depth
from mlq.store.workers import heartbeats

MLQ = str(Path(sys.executable).with_name("mlq"))
HOUR_S = 3600
SKEWED = [-HOUR_S, HOUR_S]

SHIM = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *ts) {
    int failed = syscall(SYS_clock_gettime, id, ts);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) ts->tv_sec += atol(getenv("SKEW_S"));
    return failed;
}
int gettimeofday(struct timeval *tv, void *zone) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (at) *at = ts.tv_sec;
    return ts.tv_sec;
}
"""
"""A library that is loaded before libc, and returns the time of day with SKEW_S added."""

OWN = """
from celery import shared_task

@shared_task(name="own.again", bind=True)
def again(self, given):
    if self.request.retries < 2:
        raise self.retry(countdown=0.2)
    return self.request.retries

@shared_task(name="own.sends", bind=True)
def sends(self, given):
    options = {k: v for k, v in given.items() if k != "id"}
    options.setdefault("queue", "default")
    return self.app.send_task("own.child", task_id=self.request.id + ".child", **options).id

@shared_task(name="own.child")
def child(*given):
    return "child"
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (gcc): no process can be given a wrong clock")
    source = tmp_path_factory.mktemp("shim") / "skew.c"
    source.write_text(SHIM)
    library = source.with_suffix(".so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


def skewed(shim: Path, seconds: int) -> dict[str, str]:
    """Return the environment of a process whose clock is wrong."""
    return {"LD_PRELOAD": str(shim), "SKEW_S": str(seconds)}


def start(world: World, name: str, **environment: str) -> Worker:
    """Start a worker that knows the tasks."""
    (world.directory / "own.py").write_text(OWN)
    worker = world.start(name, MLQ_WORKER_IMPORTS="own", **environment)
    worker.wait_ready()
    return worker


@pytest.fixture(params=SKEWED, ids=["behind", "ahead"])
def wrong_clock_worker(request: pytest.FixtureRequest, world: World, shim: Path) -> Worker:
    """Start a worker whose clock is wrong by an hour."""
    return start(world, "off", **skewed(shim, request.param))


def test_a_retry_waits_for_the_requested_time(world: World, wrong_clock_worker: Worker) -> None:
    """With a clock an hour behind, a retry of 0.2 s waited for an hour.

    With one an hour ahead it did not wait at all.
    """
    task = world.send(task="own.again")
    world.answered(30)
    assert world.result(task) == 2
    assert wrong_clock_worker.lives


def test_a_countdown_and_an_expiry_of_a_tasks_own_messages_are_right(world: World, wrong_clock_worker: Worker) -> None:
    """The messages of this worker run in it, and in workers whose clocks are right."""
    tasks = [
        world.send({"countdown": 0.2}, task="own.sends"),
        world.send({"expires": 600}, task="own.sends"),
        world.send({"countdown": 0.2, "expires": 600}, task="own.sends"),
    ]
    until(lambda: all(world.result(f"{i}.child") == "child" for i in tasks), "the children ran", 30, world.whereabouts)
    assert wrong_clock_worker.lives


def test_a_message_with_a_date_runs_at_that_time_of_the_servers_clock(world: World, wrong_clock_worker: Worker) -> None:
    """A clock that is ahead would run it too early, a clock that is behind too late or never."""
    now = datetime.now(timezone.utc)
    later = world.send(task="own.child", eta=now + timedelta(seconds=HOUR_S / 2))
    soon = world.send(task="own.child", eta=now + timedelta(seconds=0.3), expires=now + timedelta(seconds=HOUR_S / 2))
    late = world.send(task="own.child", expires=now - timedelta(seconds=1))
    until(lambda: world.unanswered() == {later}, "the others are answered", 30, world.whereabouts)
    assert world.result(soon) == "child"
    assert world.result(late)["exc_type"] == "TaskRevokedError"
    delayed: Any = world.redis.zrange(keys.DELAYS, 0, -1, withscores=True)
    ((_, due_ms),) = delayed
    assert due_ms == pytest.approx(1000 * (now.timestamp() + HOUR_S / 2), abs=1000)
    assert wrong_clock_worker.lives


def test_the_ages_of_messages_and_workers_are_right(world: World, wrong_clock_worker: Worker) -> None:
    """An autoscaler would start workers because of a wait of an hour that never was.

    A user would look for its cause.
    """
    world.redis.sadd(keys.PAUSED, "batch")
    world.send({"queue": "batch"}, task="own.sends")
    world.answered(30)
    with Connection(world._direct) as connection:
        (batch,) = depth.read(connection, ["batch"])
    assert batch.oldest_age_s is not None
    assert batch.oldest_age_s < HOUR_S / 2, "stamped by the worker that sent it"
    (beat,) = heartbeats.read(world.redis)
    assert abs(beat.started_at - time.time()) < HOUR_S / 2
    assert abs(abs(beat.clock_skew_s or 0) - HOUR_S) < HOUR_S / 2
    assert wrong_clock_worker.log.read_text().count("this host's clock is") == 1
    shown = subprocess.run([MLQ, "worker"], env=world.environment, capture_output=True, text=True, check=True).stdout
    assert "3600.0 s" in shown
    assert "the server's clock" in shown


@pytest.mark.parametrize("skew", SKEWED)
def test_a_user_whose_clock_is_wrong_sees_right_ages(world: World, shim: Path, skew: int) -> None:
    """`mlq worker` shows the error of a host's clock, `mlq queues` how long the oldest message has waited."""
    worker = start(world, "right")

    def asked(*argv: str) -> Any:
        environment, command = {**world.environment, **skewed(shim, skew)}, [MLQ, *argv, "--json"]
        done = subprocess.run(command, env=environment, cwd=world.directory, capture_output=True, check=True)
        return json.loads(done.stdout)

    rows = world.directory / "rows.jsonl"
    rows.write_text("1\n")
    world.redis.sadd(keys.PAUSED, "batch")
    job = asked("submit", str(rows), "--queue", "batch")
    (batch,) = asked("queues", "batch")["queues"]
    assert batch["ready"] == 1
    assert 0 <= batch["oldest_age_s"] < HOUR_S / 2
    assert abs(asked("job", "show", job["job"])["submitted_at"] - time.time()) < HOUR_S / 2
    (seen,) = asked("worker")["workers"]
    assert abs(seen["clock_skew_s"]) < HOUR_S / 2
    assert abs(seen["started_at"] - time.time()) < HOUR_S / 2
    assert worker.lives


def test_messages_of_stock_workers_get_their_full_time_by_the_workers_clock() -> None:
    """Kombu restores a stock worker's message after a timeout, by the clock of the process that checks."""
    qos: Any = object.__new__(_QoS)
    for skew_s in SKEWED:
        qos.channel = SimpleNamespace(visibility_timeout=100, owner=SimpleNamespace(skew_s=skew_s + 0.2))
        assert qos.visibility_timeout == 100 + skew_s


def test_setting_a_clock_between_two_looks_changes_nothing(redis: Any) -> None:
    """NTP may step it by any amount."""
    wall = [1000.0]
    clock = ServerClock(redis, lambda: wall[0])
    assert clock.now() == 1000.0, "nothing better is known"
    clock.refresh()
    assert clock.now() == pytest.approx(time.time(), abs=60)
    wall[0] = 0.0
    assert clock.now() == pytest.approx(time.time(), abs=60)
    assert clock.skew_s < -HOUR_S
