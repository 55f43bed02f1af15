"""The two setups under test: mlq's workers under their supervisor, and plain Celery workers in a shell loop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from chaos.faultkit import Worker, World, until

ROOT: Final = Path(__file__).resolve().parents[2]

_LOOP: Final = 'while :; do "$@"; sleep 0.2; done'
"""The loop with which users keep a worker running, or which they let systemd do."""


@dataclass(frozen=True)
class Setup:
    """One way to run workers. `task` answers one row, `module` is in a worker's command line, `ready` in its log."""

    name: str
    task: str
    module: str
    ready: str

    def environment(self, world: World, results: str) -> dict[str, str]:
        """Return the settings for broker, results and model in this setup's variables."""
        model = f"{world.directory / 'serve.py'}:Model"
        if self is MLQ:
            return {"MLQ_WORKER_MODEL": model, "MLQ_RESULT_BACKEND": results}
        return {"BENCH_BROKER": world.url, "BENCH_RESULTS": results, "BENCH_MODEL": model, "PYTHONPATH": str(ROOT)}

    def commands(self, group: str, workers: int) -> list[list[str]]:
        """Return the commands that keep this number of workers running."""
        if self is MLQ:
            options = ["--cpus", str(workers), "--name", group, "--drain-timeout", "10"]
            return [[sys.executable, "-m", "mlq", "worker", "start", *options]]
        celery = [sys.executable, "-m", "celery", "-A", "benchmarks.plain.celery_app", "worker"]
        options = ["--pool=solo", "--concurrency=1", "--loglevel=info", "-Q", "realtime,batch,default"]
        return [["/bin/sh", "-c", _LOOP, "sh", *celery, *options, "-n", f"{group}{n}@%h"] for n in range(workers)]


MLQ: Final = Setup("mlq", "mlq.predict", "mlq.worker", "ready after")
PLAIN: Final = Setup("plain", "plain.predict", "celery", " ready.")


class Group:
    """Workers of one setup that are kept running together, as on one host."""

    def __init__(self, world: World, setup: Setup, name: str, workers: int, environment: dict[str, str]) -> None:
        self.setup = setup
        self._world = world
        self._wanted = workers
        commands = setup.commands(name, workers)
        self.keepers = [world.run(argv, f"{name}-{n}", **environment) for n, argv in enumerate(commands)]
        self._seen: set[int] = set()

    def wait_ready(self, times: int = 1) -> None:
        """Wait until every worker has logged this number of times that it is ready."""
        until(
            lambda: (
                sum(k.log.read_text(errors="replace").count(self.setup.ready) for k in self.keepers)
                >= times * self._wanted
            ),
            "the workers are ready",
            why_not=self._world.whereabouts,
        )
        self.pids()

    def pids(self) -> list[int]:
        """Return the ids of the running worker processes."""
        found = []
        for keeper in self.keepers:
            with suppress(psutil.Error):
                below = psutil.Process(keeper.pid).children(recursive=True)
                found += [p.pid for p in below if self._is_worker(p)]
        self._seen |= set(found)
        return sorted(found)

    @property
    def deaths(self) -> int:
        """Count the seen worker processes that have ended."""
        return len(self._seen - set(self.pids()))

    def kill(self) -> None:
        """Kill the process that keeps the workers running.

        Workers of mlq die with it; those of the loop are killed, as by a crash of the host.
        """
        workers = self.pids()
        for keeper in self.keepers:
            if keeper.lives:
                keeper.kill()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(map(_lives, workers)), "its workers have ended")

    def stop(self) -> None:
        """Stop the workers as an operator does, then by force."""
        if self.setup is MLQ:
            for keeper in self.keepers:
                if keeper.lives:
                    keeper.stop()
            return
        workers = self.pids()
        for keeper in self.keepers:
            keeper.kill()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        processes = [psutil.Process(pid) for pid in workers if _lives(pid)]
        for process in psutil.wait_procs(processes, timeout=5)[1]:
            process.kill()

    def _is_worker(self, process: psutil.Process) -> bool:
        try:
            words: Sequence[str] = process.cmdline()
        except psutil.Error:
            return False
        return self.setup.module in words and "/bin/sh" not in words and "-S" not in words[:4]


@contextmanager
def group(world: World, setup: Setup, workers: int, name: str = "host", **environment: str) -> Iterator[Group]:
    """Run workers until they are ready; end all of them afterwards."""
    results = environment.pop("results", world.url)
    found = Group(world, setup, name, workers, {**setup.environment(world, results), **environment})
    try:
        found.wait_ready()
        yield found
    finally:
        for pid in found.pids():
            with suppress(ProcessLookupError):  # a frozen process would not end
                os.kill(pid, signal.SIGCONT)
        found.kill()


def keeper_of(found: Group) -> Worker:
    """Return the supervisor's process of a group of mlq's workers."""
    (keeper,) = found.keepers
    return keeper


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
