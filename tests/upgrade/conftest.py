"""Two versions of mlq in one world: the one that tests/upgrade/BASE names, and this one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.environments import Environment
from chaos import faultkit
from chaos.faultkit import Worker, World, until
from tests.conftest import House
from tests.environments import base_version, this_version

MODEL: Final = "serve.py:Model"


@dataclass(frozen=True)
class Wheels:
    """Both versions, as pip installs them."""

    base: Path
    this: Path


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    """Build both wheels once."""
    return Wheels(base_version(tmp_path_factory.mktemp("base")), this_version(tmp_path_factory.mktemp("this")))


@pytest.fixture(scope="session")
def base(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the version of BASE in it."""
    made = Environment.create(tmp_path_factory.mktemp("environment"))
    made.install(wheels.base)
    return made


@pytest.fixture
def houses(house: House, base: Environment) -> dict[str, House]:
    """Give one user's world as each version sees it."""
    return {"base": replace(house, mlq=base.mlq), "this": house}


class Fleets:
    """Supervisors of both versions, in a world whose model and append-only file are the witnesses."""

    def __init__(self, world: World, houses: dict[str, House]) -> None:
        self.world = world
        self._commands = {version: house.mlq for version, house in houses.items()}
        self._number = 0
        self.running: list[Worker] = []

    def start(self, version: str) -> Worker:
        """Start a supervisor with one worker; the queues are under load until that is ready."""
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
        """Tell whether a supervisor's worker has answered anything, with load on the queues meanwhile."""
        self.keep_busy()
        said = supervisor.log.read_text()
        pid = int(said.rpartition("(pid ")[2].partition(")")[0])
        return any(begun.pid == pid for begun in self.world.begun())

    def drain(self, supervisor: Worker) -> None:
        """Let a supervisor drain its worker and end, with load on the queues meanwhile."""
        supervisor.process.terminate()

        def has_ended() -> bool:
            self.keep_busy()
            return not supervisor.lives

        until(has_ended, f"{supervisor.log.name} has ended", why_not=self.world.whereabouts)
        assert supervisor.stop() == 0
        self.running.remove(supervisor)

    def end(self) -> None:
        """Let all answers come, let all supervisors drain, and look at what was recorded and said."""
        self.world.answered()
        for supervisor in self.running:
            assert supervisor.stop() == 0
        self.world.check()
        assert_no_trace(self.world.directory)


def assert_no_trace(directory: Path) -> None:
    """Demand that no process or thread met something from another version that it could not read."""
    for log in directory.glob("*.log"):
        assert signs(log.read_text(errors="replace"), log.name) == [], log.name


def signs(text: str, version: str) -> list[str]:
    """Find what a thread that died leaves in a log.

    BASE's lease thread may lose a race with the end of its own supervisor, and leaves another traceback then.
    """
    fatal = ("TypeError", "KeyError", "ImportError", "ModuleNotFoundError", "unexpected keyword", "does not know")
    words = fatal if version.startswith("base") else ("Traceback", *fatal)
    return [line for line in text.splitlines() if any(word in line for word in words)]


@pytest.fixture
def world(state: Path) -> Iterator[World]:
    """A server of this test alone whose append-only file tells what was recorded, and a stock producer."""
    server = faultkit.serve(state / "mlq")
    world = World(state / "mlq", server.url)
    yield world
    world.close()
    server.stop()


@pytest.fixture
def fleets(world: World, houses: dict[str, House]) -> Fleets:
    """Supervisors of both versions in that world."""
    return Fleets(world, houses)


@pytest.fixture
def shared(houses: dict[str, House], broker: str) -> Iterator[Any]:
    """Start long-running commands of both versions beside a broker that outlives them."""
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
        assert signs("\n".join(running.lines), version) == []
