"""Workloads: arrivals of a piecewise Poisson process, and service times that vary like real ones."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from mlq.autoscale.replay.simulation import Task

_MEAN_S: Final = 0.5
_CV: Final = 0.5
_RISE_S, _FALL_S = 900, 1500
_EVERY_S, _BURST_S = 240, 20
_JUMP_S = 400


def poisson(rate: Callable[[float], float], seconds: float, seed: int, peak: float) -> list[Task]:
    """Draw arrivals at `rate(t)` per second (at most `peak`) by thinning (Lewis and Shedler, 1979)."""
    random = np.random.default_rng(seed)
    sigma = math.sqrt(math.log(1 + _CV * _CV))
    mu = math.log(_MEAN_S) - sigma * sigma / 2
    tasks, at = [], 0.0
    while (at := at + random.exponential(1 / peak)) < seconds:
        if random.random() * peak < rate(at):
            tasks.append(Task(at, float(random.lognormal(mu, sigma))))
    return tasks


def steady(seed: int) -> list[Task]:
    """Return 4/s for an hour."""
    return poisson(lambda _: 4.0, 3600, seed, 4)


def step(seed: int) -> list[Task]:
    """Return 1/s, ten times as much between 900 and 1,500 s, and 1/s again."""
    return poisson(lambda t: 10.0 if _RISE_S <= t < _FALL_S else 1.0, 3600, seed, 10)


def steps(seed: int, at: float, seconds: float = 3600) -> list[Task]:
    """Return 2/s, and 20/s for ten minutes from `at` on, which needs more than ten workers."""
    return poisson(lambda t: 20.0 if at <= t < at + _FALL_S - _RISE_S else 2.0, seconds, seed, 20)


def ramp(seed: int) -> list[Task]:
    """Return a rate that rises and falls within an hour, minute by minute."""
    return poisson(lambda t: 0.5 + 11 * math.sin(math.pi * (t // 60) / 60) ** 2, 3600, seed, 11.5)


def batched(seed: int) -> list[Task]:
    """Return 200 rows per second for 20 minutes, which share forwards."""
    return poisson(lambda _: 200.0, 1200, seed, 200)


def rising(seed: int) -> list[Task]:
    """Return 50 rows per second that share forwards, and eight times as many from 400 s on."""
    return poisson(lambda t: 50.0 if t < _JUMP_S else 400.0, 1200, seed, 400)


def bursts(seed: int) -> list[Task]:
    """Return a low rate, and every few minutes twenty seconds of ten times as much."""
    return poisson(lambda t: 8.0 if t % _EVERY_S < _BURST_S else 0.8, 3600, seed, 8)


def conversations(path: Path) -> list[Task]:
    """Read the Azure trace of 2023: the time of a request grows with its input and output tokens."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    import datetime as dt

    times = [dt.datetime.fromisoformat(r["TIMESTAMP"][:26]).timestamp() for r in rows]
    raw = [0.05 + 2e-5 * float(r["ContextTokens"]) + 2e-3 * float(r["GeneratedTokens"]) for r in rows]
    scale = _MEAN_S / (sum(raw) / len(raw))
    return [Task(t - times[0], s * scale) for t, s in sorted(zip(times, raw, strict=True))]


def mean_rate(tasks: Sequence[Task]) -> float:
    """Return the tasks per second."""
    return len(tasks) / tasks[-1].at
