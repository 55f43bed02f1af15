"""The stage of a run: one server, and the running contenders. All of them serve the same model at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import celery
import numpy as np

from benchmarks import model, server
from benchmarks.celery_client import CeleryClient, Databases, Tasks
from benchmarks.client import Client
from benchmarks.process import Process
from benchmarks.server import Server

if TYPE_CHECKING:
    from benchmarks.rivals.client import DramatiqClient, RqClient

ROOT: Final = Path(__file__).parent.parent
BIN: Final = Path(sys.executable).parent

_ONE_THREAD: Final = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_THREAD_LIMIT": "1",  # mlq sets OMP_NUM_THREADS itself, to the number of cores
}

_C_co = TypeVar("_C_co", bound=Client, covariant=True)


@dataclass(frozen=True)
class Contender(Generic[_C_co]):
    """A running worker, and a producer for it."""

    process: Process
    client: _C_co

    def end(self) -> None:
        """Close the producer, then stop the worker."""
        self.client.close()
        self.process.end()


class Stage:
    """Starts requested contenders, once for each model, and ends them when another model comes."""

    def __init__(self, directory: Path, at: Server, seed: int) -> None:
        self.directory = directory
        self.server = at
        self.seed = seed
        self.forwards = directory / "forwards"
        self.commands: list[Sequence[str]] = []
        self._model = ""
        self._up: dict[str, Contender[Any]] = {}

    def mlq(self, name: str) -> Contender[CeleryClient]:
        """Return `mlq worker start`, and a stock Celery producer."""
        return self._once("mlq", name, lambda: self.start_mlq("mlq", str(BIN / "mlq"), name, server.MLQ))

    def start_mlq(self, who: str, mlq: str, name: str, database: int, **extra: str) -> Contender[CeleryClient]:
        """Start a worker with the `mlq` command of an environment; the caller ends it."""
        served = ["--model", self._served(name), "--max-batch-size", str(model.ROWS_AT_ONCE[name])]
        argv = [mlq, "worker", "start", "--cpus", "1", "--queues", "realtime,default,batch", *served]
        process = self.start(who, argv, ready="ready after", **extra)
        tasks = Tasks("mlq.predict", "mlq.batch_predict")
        return Contender(process, CeleryClient(self.server, Databases(database, database), tasks))

    def plain(self, name: str) -> Contender[CeleryClient]:
        """Return the plain Celery setup, and the same producer."""

        def start() -> Contender[CeleryClient]:
            at = Databases(server.PLAIN, server.PLAIN_RESULTS)
            return self._start_plain("plain", "solo", at, **self.plain_setup(name))

        return self._once("plain", name, start)

    @property
    def can_spawn(self) -> bool:
        """True if the installed Celery can spawn the processes of its pool; an older one would fork silently."""
        return tuple(celery.VERSION) >= (5, 7)

    def spawned(self, name: str) -> Contender[CeleryClient]:
        """Return the plain setup with Celery's prefork pool and a spawned process: from Celery 5.7 on."""

        def start() -> Contender[CeleryClient]:
            at = Databases(server.SPAWNED, server.SPAWNED_RESULTS)
            url = self.server.celery_url
            places = {"BENCH_BROKER": url(at.queues), "BENCH_RESULTS": url(at.results)}
            return self._start_plain("spawned", "prefork", at, BENCH_START_METHOD="spawn", BENCH_MODEL=name, **places)

        return self._once("spawned", name, start)

    def _start_plain(self, who: str, pool: str, at: Databases, **extra: str) -> Contender[CeleryClient]:
        app = ["-A", "benchmarks.plain.celery_app", "worker", f"--pool={pool}", "--concurrency=1"]
        how = ["--loglevel=info", "-Q", "realtime,batch,default", "-n", f"{who}@%h"]
        process = self.start(who, [str(BIN / "celery"), *app, *how], ready=" ready.", **extra)
        return Contender(process, CeleryClient(self.server, at, Tasks("plain.predict", "plain.batch_predict")))

    def rq(self, name: str) -> Contender[RqClient]:
        """Return an rq worker that does not fork, and its producer."""
        from benchmarks.rivals.client import RqClient

        def start() -> Contender[RqClient]:
            url = self.server.redis_url(server.RQ)
            argv = [str(BIN / "rq"), "worker", "--worker-class", "rq.SimpleWorker", "--url", url, "realtime"]
            process = self.start("rq", argv, ready="Listening on", BENCH_MODEL=name)
            return Contender(process, RqClient(self.server, process))

        return self._once("rq", name, start)

    def dramatiq(self, name: str) -> Contender[DramatiqClient]:
        """Return a dramatiq worker with one thread, and its producer."""
        from benchmarks.rivals.client import DramatiqClient

        def start() -> Contender[DramatiqClient]:
            module = "benchmarks.rivals.dramatiq_actors"
            argv = [str(BIN / "dramatiq"), module, "--processes", "1", "--threads", "1"]
            url = self.server.redis_url(server.DRAMATIQ)
            process = self.start("dramatiq", argv, ready="ready for action", BENCH_MODEL=name, BENCH_BROKER=url)
            return Contender(process, DramatiqClient(self.server, process))

        return self._once("dramatiq", name, start)

    def start(self, name: str, argv: Sequence[str], *, ready: str, **extra: str) -> Process:
        """Start a command and wait until it logs that it is ready; an error contains its log."""
        if argv not in self.commands:
            self.commands.append(argv)
        process = Process(argv, self.environment(**extra), self.directory / f"{name}.log")
        try:
            process.wait_for(ready)
        except BaseException:
            process.end()
            raise
        return process

    def run(self, argv: Sequence[str], **extra: str) -> str:
        """Run a command to its end; return its output."""
        done = subprocess.run(
            argv, env=self.environment(**extra), cwd=self.directory, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout

    def environment(self, **extra: str) -> dict[str, str]:
        """Return a private environment, without the configuration and the broker of the user."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLQ_", "CELERY_", "MALLOC_"))}
        own = {"XDG_STATE_HOME": str(self.directory), "XDG_CONFIG_HOME": str(self.directory / "config")}
        path = os.pathsep.join(
            filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
        )  # for example with another Celery
        shared = {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", model.FORWARDS: str(self.forwards)}
        return {**inherited, **own, **shared, **_ONE_THREAD, **extra}

    def plain_setup(self, name: str) -> dict[str, str]:
        """Return the environment variables of the plain setup."""
        url = self.server.celery_url
        return {
            "BENCH_BROKER": url(server.PLAIN),
            "BENCH_RESULTS": url(server.PLAIN_RESULTS),
            "BENCH_MODEL": name,
        }

    def random(self) -> np.random.Generator:
        """Return a generator that gives every measurement the same numbers, in any order of measurements."""
        return np.random.default_rng(self.seed)

    def clear(self) -> None:
        """End every contender."""
        while self._up:
            _, contender = self._up.popitem()
            contender.end()

    def _once(self, who: str, name: str, start: Callable[[], Contender[_C_co]]) -> Contender[_C_co]:
        if name != self._model:
            self.clear()
            self._model = name
        if who not in self._up:
            self._up[who] = start()
        found: Contender[_C_co] = self._up[who]
        return found

    def _served(self, name: str) -> str:
        """Return the model as mlq takes it: an exported program, or the class that needs no torch."""
        if name == model.SLOW:
            return f"{ROOT / 'benchmarks' / 'model.py'}:Slow"
        path = self.directory / f"{name}.pt2"
        if not path.exists():
            self.run([sys.executable, "-m", "benchmarks.model", name, str(path)])
        return str(path)


@contextmanager
def stage(seed: int) -> Iterator[Stage]:
    """Set up a stage in a temporary directory, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="mlq-bench-") as name:
        directory = Path(name)
        with server.running(directory / "mlq") as at:
            found = Stage(directory, at, seed)
            try:
                yield found
            finally:
                found.clear()
