"""Staffing: what one worker can do, and how many it takes that few tasks wait too long. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlq.autoscale.policy.service import ServiceRate


def waits(workers: int, load: float) -> float:
    """Give the probability that a task waits in M/M/n: `load` is arrivals over service rate, in workers' worth.

    By the recursion of Erlang B, which neither overflows nor cancels: B(0) = 1, B(k) = a·B(k-1) / (k + a·B(k-1)),
    and C = n·B / (n - a·(1 - B)).
    """
    if load <= 0:
        return 0.0
    if workers <= load:
        return 1.0
    blocked = 1.0
    for k in range(1, workers + 1):
        blocked = load * blocked / (k + load * blocked)
    return workers * blocked / (workers - load * (1 - blocked))


def waits_longer(workers: int, load: float, rate: float, seconds: float, squared_cv: float = 1.0) -> float:
    """Give the probability that a task waits longer than `seconds`; `rate` is tasks a second of one worker.

    M/M/n's is C·exp(-(nμ - λ)·t). Service that varies less (a squared coefficient of variation below 1) waits less,
    by the factor of Pollaczek and Khinchine: the mean wait of M/G/1 is (1 + cs²)/2 of M/M/1's.
    """
    spare = (workers - load) * rate
    if spare <= 0:
        return 1.0
    return waits(workers, load) * math.exp(-spare * seconds * 2 / (1 + squared_cv))


@dataclass(frozen=True)
class Capacity:
    """`rate`: tasks a second of one worker that has enough to do; `turn_s`: what it does at a time takes so long."""

    rate: float
    turn_s: float


def capacity(service: ServiceRate, target_s: float) -> Capacity:
    """Tell what a worker can do, not what it does while it is bored and its batches are small.

    That is mu(B) = B / t(B), where B is its limit, or less if its forward would not leave half of the target for
    waiting; where not even one row does, and where batches are not known, what was seen.
    """
    seen = Capacity(service.rate, 1 / service.rate)
    if service.batch_s is None:
        return seen
    base, slope = service.batch_s
    largest = min(service.largest, (target_s / 2 - base) / slope) if slope > 0 else service.largest
    if largest < 1:
        return seen
    rate = max(service.rate, largest / (base + slope * largest) / service.rows)
    return Capacity(rate, max(base + slope * largest, 1 / rate))  # one task may be more rows than a forward takes


def staff(rate: float, each: Capacity, squared_cv: float, target_s: float, late: float, most: int) -> int:
    """Find the least number of workers in front of which few wait too long; `most` where none suffices.

    With batches the customers of Erlang's formula are forwards: a worker is never free sooner than its forward ends.
    """
    if rate <= 0:
        return 0
    load, turns = rate / each.rate, 1 / each.turn_s
    few = (n for n in range(most) if waits_longer(n, load, turns, target_s, squared_cv) <= late)
    return next(few, most)
