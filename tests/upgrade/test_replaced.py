"""mlq is upgraded or rolled back under a running supervisor: pip replaces the files, and a worker is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from benchmarks.environments import Environment
from tests.conftest import User
from tests.upgrade.conftest import MODEL, Wheels

DISTRIBUTIONS = {"base": "mlq", "this": "mlq-cli"}
START = ("worker", "start", "--model", MODEL)

FUTURE = "from __future__ import annotations\n"
POISON = """
import os
if os.getpid() == {pid}:
    raise ImportError("a supervisor imported " + __file__ + " after an upgrade")
"""


@pytest.fixture
def environment(state: Path) -> Environment:
    """Return an environment whose mlq is replaced in the test."""
    return Environment.create(state / "environment")


@pytest.fixture
def installed(environment: Environment, user: User) -> User:
    """Return the user with the command of that environment."""
    return replace(user, mlq=environment.mlq)


@pytest.fixture
def run(installed: User, broker: str) -> Iterator[Callable[..., Any]]:
    """Return a function that starts a command of that environment; it drains at the end, and must end with success."""
    del broker
    started: list[Any] = []

    def begin(*argv: str, ready: int = 1) -> Any:
        started.append(installed.command(*argv))
        started[-1].wait_for("ready after", times=ready)
        return started[-1]

    yield begin
    for running in started:
        assert running.end() == 0, running.lines
        assert not [line for line in running.lines if "Traceback" in line or "ImportError" in line], running.lines


def kill_worker(running: Any) -> int:
    """Kill the only worker with kill -9, and return its pid."""
    (pid,) = running.pids().values()
    os.kill(pid, signal.SIGKILL)
    return int(pid)


def answered_by(client: Celery) -> Any:
    """Send a message, and return the pid of the process that answers."""
    return client.send_task("mlq.predict", [1]).get(timeout=60)["pid"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("old", "new", "pool"),
    [("base", "this", ("--cpus", "1")), ("base", "this", ("--pool", "prefork")), ("this", "base", ("--cpus", "1"))],
)
def test_a_worker_that_is_killed_in_the_middle_of_an_upgrade_starts_with_the_new_code(
    wheels: Wheels,
    environment: Environment,
    run: Callable[..., Any],
    client: Celery,
    old: str,
    new: str,
    pool: tuple[str, ...],
) -> None:
    """Its supervisor runs the old code and finds no file at first.

    Then it starts, serves and drains the new version.
    """
    environment.install(getattr(wheels, old))
    supervisor = run(*START, *pool)
    assert answered_by(client)
    environment.uninstall(DISTRIBUTIONS[old])
    killed = kill_worker(supervisor)
    supervisor.wait_for("again in 1 s")
    environment.install(getattr(wheels, new))
    supervisor.wait_for("ready after", times=2)
    assert answered_by(client) != killed
    if old == "this":
        supervisor.wait_for("ended while Python packages are being replaced: it is tried again")
        supervisor.wait_for("mlq was replaced while this supervisor runs")


@pytest.mark.timeout(240)
def test_a_supervisor_imports_nothing_of_mlq_once_its_workers_are_ready(
    wheels: Wheels,
    environment: Environment,
    installed: User,
    run: Callable[..., Any],
    client: Celery,
) -> None:
    """A module of the new version beside old ones in memory could fail at any later time."""
    environment.install(wheels.this)
    installed.environment["MLQ_WORKER_MAX_CRASHES"] = "1"
    supervisor = run(*START, "--cpus", "1")
    for module in (environment.packages / "mlq").rglob("*.py"):
        text = module.read_text()
        module.write_text(text.replace(FUTURE, FUTURE + POISON.format(pid=supervisor.process.pid), 1))
    dying = client.send_task("mlq.predict", [{"wait_for": "never"}])
    log = installed.directory / "model.log"
    installed.until(lambda: log.exists() and "wait_for" in log.read_text(), "it runs")
    kill_worker(supervisor)
    with pytest.raises(Exception, match="worker"):  # the supervisor answers the clients of a message that kills workers
        dying.get(timeout=60)
    supervisor.wait_for("ready after", times=2)
    assert installed.run("worker", "restart", "cpu0").returncode == 0
    revoked = client.send_task("mlq.predict", [{"wait_for": "never", "again": True}])
    installed.until(lambda: "again" in log.read_text(), "it runs")
    client.control.revoke(revoked.id, terminate=True)
    supervisor.wait_for("ready after", times=4)
    assert answered_by(client)


@pytest.mark.timeout(240)
def test_a_supervisor_whose_environment_was_removed_names_the_missing_file(
    wheels: Wheels, environment: Environment, run: Callable[..., Any], client: Celery
) -> None:
    """A deployment may build its environment anew in the same place: the worker then starts again."""
    environment.install(wheels.this)
    supervisor = run(*START, "--cpus", "1")
    elsewhere = environment.directory.with_name("elsewhere")
    environment.directory.rename(elsewhere)
    kill_worker(supervisor)
    supervisor.wait_for(f"cpu0 cannot be started: No such file or directory: {environment.directory}/bin/python")
    elsewhere.rename(environment.directory)
    supervisor.wait_for("ready after", times=2)
    assert answered_by(client)
