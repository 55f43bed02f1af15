"""Fixtures of the end-to-end tests: the user's own tasks beside the model, and access to the broker's Redis."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from mlq.broker import embedded
from tests.conftest import User


@pytest.fixture
def ran(user: User) -> Callable[[], list[str]]:
    """Copy own_tasks.py to the workers' directory, and return a function that reads the log of its tasks."""
    shutil.copy(Path(__file__).with_name("own_tasks.py"), user.directory)
    log = user.directory / "ran.log"
    return lambda: log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def broker_redis(broker: str) -> Iterator[Redis]:
    """Return a client of the embedded broker."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=10) as redis:
        yield redis


HOLDING = """
import os, time
from celery import signals
@signals.task_postrun.connect
def hold(sender=None, **_):
    if os.path.exists("hold"):
        with open("ran.log", "a") as file:
            file.write("held\\n")
        while os.path.exists("hold"):
            time.sleep(0.01)
"""
"""A module that holds a task before its acknowledgement while the file `hold` exists. There tests kill the worker."""


@dataclass
class World:
    """A worker that knows the user's own tasks, with access to its Redis and its files."""

    user: Any
    begin: Any
    redis: Any
    workers: Any = None

    def start(self, imports: str = "own_tasks", *, ready: int = 1, **options: str) -> None:
        """Start workers, and wait until they are ready."""
        self.workers = self.begin("--cpus", str(ready), ready=ready, MLQ_WORKER_IMPORTS=imports, **options)

    def kill(self) -> None:
        """Kill the worker, and wait until its lease is gone and a new worker is ready."""
        (dead,) = self.leases()
        os.kill(self.workers.pids()["cpu0"], signal.SIGKILL)
        self.user.directory.joinpath("hold").unlink(missing_ok=True)
        self.user.until(lambda: self.leases() and dead not in self.leases(), "it is declared dead and replaced")

    def leases(self) -> list[bytes]:
        """Return the ids of the workers with a lease."""
        return list(self.redis.zrange("mlq:leases", 0, -1))

    def claimed(self) -> int:
        """Count the messages that workers hold."""
        return sum(int(self.redis.hlen(key)) for key in self.redis.scan_iter("mlq:claims:*"))

    def delayed(self) -> int:
        """Count the messages that wait for their time."""
        return int(self.redis.zcard("mlq:delays"))

    def hold(self) -> None:
        """Hold every task between its end and its acknowledgement from now on."""
        self.user.write("hold", "")

    def ran(self) -> list[str]:
        """Return the lines that the user's own tasks wrote."""
        return self._lines("ran.log")

    def predicted(self) -> list[str]:
        """Return the lines that the model wrote: one for each row that it began."""
        return self._lines("model.log")

    def _lines(self, name: str) -> list[str]:
        path: Path = self.user.directory / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def world(user: Any, start: Any, broker: str) -> Iterator[World]:
    """Copy the user's own tasks to the directory in which the worker is started."""
    shutil.copy(Path(__file__).with_name("own_tasks.py"), user.directory)
    user.write("holding.py", HOLDING)
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=10) as redis:
        yield World(user, start, redis)


@pytest.fixture
def other_server_url() -> Iterator[str]:
    """Run a second server, and yield its URL."""
    with tempfile.TemporaryDirectory(prefix="mlq-test-") as directory:
        server = embedded.Server(embedded.program(), Path(directory))
        server.start()
        yield server.url
        server.stop()
