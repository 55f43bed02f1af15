"""Two versions of mlq beside each other: the one that tests/upgrade/BASE names, and this one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.environments import Environment
from chaos import faultkit
from chaos.faultkit import Worker, World, until
from tests.conftest import User
from tests.environments import base_version, this_version

MODEL: Final = "serve.py:Model"


@dataclass(frozen=True)
class Wheels:
    """The wheels of both versions."""

    base: Path
    this: Path


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    """Build both wheels once."""
    return Wheels(base_version(tmp_path_factory.mktemp("base")), this_version(tmp_path_factory.mktemp("this")))


@pytest.fixture(scope="session")
def base(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return an environment with the version of BASE."""
    made = Environment.create(tmp_path_factory.mktemp("environment"))
    made.install(wheels.base)
    return made


@pytest.fixture
def houses(user: User, base: Environment) -> dict[str, User]:
    """Return one user for each version."""
    return {"base": replace(user, mlq=base.mlq), "this": user}


class Fleets:
    """Supervisors of both versions, with a model and an append-only file that record every run and every result."""

    def __init__(self, world: World, houses: dict[str, User]) -> None:
        self.world = world
        self._commands = {version: user.mlq for version, user in houses.items()}
        self._number = 0
        self.running: list[Worker] = []

    def start(self, version: str) -> Worker:
        """Start a supervisor with one worker, and keep the queues under load until the worker is ready."""
        self._number += 1
        name = f"{version}{self._number}"
        supervisor = self.world.run([self._commands[version], "worker", "start", "--cpus", "1", "--name", name], name)
        self.running.append(supervisor)

        def is_ready() -> bool:
            self.keep_busy()
            assert supervisor.lives, self.world.whereabouts()
            return "ready after" in supervisor.log.read_text()

        until(is_ready, f"{name} is ready", why_not=self.world.whereabouts)
        return supervisor

    def keep_busy(self) -> None:
        """Keep messages in the queues."""
        self.world.keep_in_flight(40, lambda: {"sleep": 0.01})

    def has_answered(self, supervisor: Worker) -> bool:
        """Return whether a supervisor's worker has answered a message, and keep the queues under load."""
        self.keep_busy()
        said = supervisor.log.read_text()
        pid = int(said.rpartition("(pid ")[2].partition(")")[0])
        return any(begun.pid == pid for begun in self.world.begun())

    def drain(self, supervisor: Worker) -> None:
        """Drain a supervisor's worker until the supervisor has ended, with the queues under load."""
        supervisor.process.terminate()

        def has_ended() -> bool:
            self.keep_busy()
            return not supervisor.lives

        until(has_ended, f"{supervisor.log.name} has ended", why_not=self.world.whereabouts)
        assert supervisor.stop() == 0
        self.running.remove(supervisor)

    def end(self) -> None:
        """Wait for all answers, drain all supervisors, and check what was recorded and logged."""
        self.world.answered()
        for supervisor in self.running:
            assert supervisor.stop() == 0
        self.world.check()
        check_logs(self.world.directory)


def check_logs(directory: Path) -> None:
    """Check that no process or thread failed to read data of another version."""
    for log in directory.glob("*.log"):
        assert find_tracebacks(log.read_text(errors="replace"), log.name) == [], log.name


def find_tracebacks(text: str, version: str) -> list[str]:
    """Return the tracebacks of dead threads in a log.

    BASE's lease thread may lose a race with the end of its own supervisor, and leaves another traceback then.
    """
    fatal = ("TypeError", "KeyError", "ImportError", "ModuleNotFoundError", "unexpected keyword", "does not know")
    words = fatal if version.startswith("base") else ("Traceback", *fatal)
    return [line for line in text.splitlines() if any(word in line for word in words)]


@pytest.fixture
def world(state: Path) -> Iterator[World]:
    """Return a private server whose append-only file shows every recorded result, and a stock producer."""
    server = faultkit.serve(state / "mlq")
    world = World(state / "mlq", server.url)
    yield world
    world.close()
    server.stop()


@pytest.fixture
def fleets(world: World, houses: dict[str, User]) -> Fleets:
    """Return supervisors of both versions on that server."""
    return Fleets(world, houses)


@pytest.fixture
def shared(houses: dict[str, User], broker: str) -> Iterator[Any]:
    """Return a function that starts long-running commands of both versions beside a broker that outlives them."""
    del broker
    started: list[tuple[str, Any]] = []

    def begin(version: str, *argv: str, ready: int = 0) -> Any:
        running = houses[version].command(*argv)
        started.append((version, running))
        if ready:
            running.wait_for("ready after", times=ready)
        return running

    yield begin
    for version, running in reversed(started):
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(30)
        running.close()
        assert find_tracebacks("\n".join(running.lines), version) == []
