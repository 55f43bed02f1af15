"""Recovery: how long the tasks of a killed worker, or of a killed host, are away while the others are under load."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from benchmarks.findings import percentile
from chaos.faultkit import Begun, World, until
from chaos.reliability.setups import MLQ
from chaos.reliability.stage import Stage, stage

TASK_S: Final = 0.05
LONG_S: Final = 0.3
LOAD: Final = 0.8
WORKERS: Final = 4

SOON_S: Final = 0.1
AGAIN_S: Final = 0.5
HOST_S: Final = 5
"""The promised number of seconds, with leases of 3 s."""


@dataclass
class Recovery:
    """Seconds from a kill until the worker's task began elsewhere, until it ended, and until the slot began a task.

    For the first figure the other workers are idle, for the other two they are under load. `start` is the time from a
    worker's own start to its first task: Python, Celery, the model. `host` is the time from a kill of a supervisor,
    whose workers die with it, until their tasks began on the other host.
    """

    elsewhere: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    serving: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    host: list[float] = field(default_factory=list)

    def rows(self) -> list[tuple[str, list[float], str, bool]]:
        """Return each figure: its name, the samples, the promise, and whether it holds."""
        start_s = _p50(self.start)
        ends = f"the same under {LOAD:.0%} load of {1e3 * TASK_S:.0f} ms tasks: it has ended"
        soon, again = _p99(self.elsewhere) <= SOON_S, _p50(self.serving) <= start_s + AGAIN_S
        return [
            ("kill -9 of a worker: its task runs elsewhere, others idle", self.elsewhere, f"p99 ≤ {SOON_S} s", soon),
            (ends, self.ended, "stated", True),
            ("the same: its slot runs tasks again", self.serving, f"p50 ≤ {start_s:.2f} + {AGAIN_S} s", again),
            ("a single worker: from its start to its first task", self.start, "", True),
            ("kill -9 of a supervisor: its tasks run on the other host", self.host, f"≤ {HOST_S} s", self.host_holds),
        ]

    @property
    def host_holds(self) -> bool:
        """True if every host's end was noticed in time."""
        return max(self.host) <= HOST_S

    @property
    def holds(self) -> bool:
        """True if every promise holds."""
        return all(holds for *_, holds in self.rows())


def measure(kills: int, host_kills: int, seed: int) -> Recovery:
    """Kill this number of workers, then this number of supervisors."""
    found = Recovery()
    chance = random.Random(seed)  # noqa: S311 (a seed, not a secret)
    with stage(MLQ) as at:
        _starts(at, found, max(3, kills // 10))
    for _ in range(kills // WORKERS):
        _kill_at_rest(found)
        _kill_each_under_load(found, chance)
    for n in range(host_kills):
        _kill_host(found, n)
    return found


def _kill_at_rest(found: Recovery) -> None:
    """Kill workers during a task, while the other workers are idle."""
    with stage(MLQ) as at, at.workers(WORKERS):
        for _ in range(WORKERS):
            task = at.world.send({"sleep": LONG_S})
            at.begins(task)
            os.kill(at.world.begun(task)[0].pid, signal.SIGKILL)
            killed_at = time.monotonic()
            at.begins(task, times=2)
            found.elsewhere.append(at.world.begun(task)[1].at - killed_at)
            at.answered()
        at.world.check()


def _kill_each_under_load(found: Recovery, chance: random.Random) -> None:
    """Kill each worker once. A slot whose worker dies again within a minute waits, as in a crash loop."""
    with stage(MLQ) as at, at.workers(WORKERS) as workers:
        for victim in workers.pids():
            _load(at.world, chance, chance.uniform(0.2, 0.5))
            _kill_worker(at, victim, chance, found)
        at.answered()
        at.world.check()


def _starts(at: Stage, found: Recovery, times: int) -> None:
    for n in range(times):
        task = at.world.send()
        worker = at.world.start(f"alone{n}")
        at.answered()
        found.start.append(at.world.begun(task)[0].at - worker.began)
        worker.kill()


def _load(world: World, chance: random.Random, for_s: float, until_: Callable[[], bool] = lambda: False) -> None:
    """Send tasks like clients, at random moments, to keep the workers busy for 80% of the time."""
    ends = time.monotonic() + for_s
    while time.monotonic() < ends and not until_():
        time.sleep(chance.expovariate(LOAD * WORKERS / TASK_S))
        world.send({"sleep": TASK_S})


def _kill_worker(at: Stage, victim: int, chance: random.Random, found: Recovery) -> None:
    """Kill a worker during a task, and send tasks until all workers serve again."""
    world = at.world
    _load(world, chance, at.patience_s, lambda: _running(world, victim) is not None)
    held = _running(world, victim)
    before = {begun.pid for begun in world.begun()}
    os.kill(victim, signal.SIGKILL)
    killed_at = time.monotonic()

    def again() -> list[Begun]:
        return [b for b in world.begun() if b.pid not in before]

    _load(world, chance, at.patience_s, lambda: bool(again()))
    at.answered()
    found.serving.append(again()[0].at - killed_at)
    runs = world.begun(held.id) if held is not None else []
    if len(runs) > 1:  # otherwise the task had just ended, and an idle worker was killed
        found.ended.append(_ended(world, runs[1].id) - killed_at)


def _kill_host(found: Recovery, number: int) -> None:
    with stage(MLQ) as at, at.workers(1, "one") as one:
        task = at.world.send({"gate": str(at.gate())})
        until(lambda: at.world.has_begun(task), "it runs")
        with at.workers(1, "other"):
            time.sleep(number * 0.1)  # the lease may be new, or nearly expired
            killed_at = time.monotonic()
            one.kill()
            at.begins(task, times=2)
            found.host.append(at.world.begun(task)[1].at - killed_at)
            at.gate().touch()
            at.answered()
            at.world.check()


def _running(world: World, pid: int) -> Begun | None:
    """Return the task that a worker has just begun."""
    begun = [b for b in world.begun() if b.pid == pid]
    fresh = bool(begun) and time.monotonic() - begun[-1].at < TASK_S / 2
    return begun[-1] if fresh else None


def _ended(world: World, task_id: str) -> float:
    lines = [line.split() for line in world.truth.read_text().splitlines()]
    return next(float(at) for what, i, _, at in lines if what == "end" and i == task_id)


def _p50(values: list[float]) -> float:
    return percentile(values, 0.5)


def _p99(values: list[float]) -> float:
    return percentile(values, 0.99)
