"""The two setups under fault: mlq's workers under their supervisor, and plain Celery workers in a shell's loop."""

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
"""What users write to keep a worker up, or tell systemd to do."""


@dataclass(frozen=True)
class Setup:
    """One way to run workers. `task` answers one row, `module` is in a worker's command line, `ready` in its log."""

    name: str
    task: str
    module: str
    ready: str

    def environment(self, world: World, results: str) -> dict[str, str]:
        """Say where broker, results and model are, in this setup's words."""
        model = f"{world.directory / 'serve.py'}:Model"
        if self is MLQ:
            return {"MLQ_WORKER_MODEL": model, "MLQ_RESULT_BACKEND": results}
        return {"BENCH_BROKER": world.url, "BENCH_RESULTS": results, "BENCH_MODEL": model, "PYTHONPATH": str(ROOT)}

    def commands(self, group: str, workers: int) -> list[list[str]]:
        """Write the commands that keep so many workers up."""
        if self is MLQ:
            options = ["--cpus", str(workers), "--name", group, "--drain-timeout", "10"]
            return [[sys.executable, "-m", "mlq", "worker", "start", *options]]
        celery = [sys.executable, "-m", "celery", "-A", "benchmarks.plain.celery_app", "worker"]
        options = ["--pool=solo", "--concurrency=1", "--loglevel=info", "-Q", "realtime,batch,default"]
        return [["/bin/sh", "-c", _LOOP, "sh", *celery, *options, "-n", f"{group}{n}@%h"] for n in range(workers)]


MLQ: Final = Setup("mlq", "mlq.predict", "mlq.worker", "ready after")
PLAIN: Final = Setup("plain", "plain.predict", "celery", " ready.")


class Group:
    """Workers of one setup that are kept up together, as on one host."""

    def __init__(self, world: World, setup: Setup, name: str, workers: int, environment: dict[str, str]) -> None:
        self.setup = setup
        self._world = world
        self._wanted = workers
        commands = setup.commands(name, workers)
        self.keepers = [world.run(argv, f"{name}-{n}", **environment) for n, argv in enumerate(commands)]
        self._seen: set[int] = set()

    def wait_ready(self, times: int = 1) -> None:
        """Wait until every worker has said so often that it takes work."""
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
        """Find the worker processes that live now."""
        found = []
        for keeper in self.keepers:
            with suppress(psutil.Error):
                below = psutil.Process(keeper.pid).children(recursive=True)
                found += [p.pid for p in below if self._is_worker(p)]
        self._seen |= set(found)
        return sorted(found)

    @property
    def deaths(self) -> int:
        """Count the worker processes that have gone, of those that were ever seen."""
        return len(self._seen - set(self.pids()))

    def kill(self) -> None:
        """Kill -9 whoever keeps the workers up. mlq's die with it; the loop's are killed, as if the host had gone."""
        workers = self.pids()
        for keeper in self.keepers:
            if keeper.lives:
                keeper.kill()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(map(_lives, workers)), "its workers have gone")

    def stop(self) -> None:
        """Let the workers end as an operator would, then with force."""
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
    """Run workers, ready; nothing of them is left afterwards."""
    results = environment.pop("results", world.url)
    found = Group(world, setup, name, workers, {**setup.environment(world, results), **environment})
    try:
        found.wait_ready()
        yield found
    finally:
        for pid in found.pids():
            with suppress(ProcessLookupError):  # a frozen one would not end
                os.kill(pid, signal.SIGCONT)
        found.kill()


def keeper_of(found: Group) -> Worker:
    """Give the one process that keeps a group of mlq's up."""
    (keeper,) = found.keepers
    return keeper


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
