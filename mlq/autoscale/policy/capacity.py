"""The capacity of one worker, and the number of workers with which few tasks wait too long. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlq.autoscale.policy.service import ServiceRate


def wait_probability(workers: int, load: float) -> float:
    """Return the probability that a task waits in an M/M/n queue; `load` is arrival rate / service rate.

    It is computed with the recursion of Erlang B, which is numerically stable: B(0) = 1,
    B(k) = a·B(k-1) / (k + a·B(k-1)), and C = n·B / (n - a·(1 - B)).
    """
    if load <= 0:
        return 0.0
    if workers <= load:
        return 1.0
    blocked = 1.0
    for k in range(1, workers + 1):
        blocked = load * blocked / (k + load * blocked)
    return workers * blocked / (workers - load * (1 - blocked))


def long_wait_probability(workers: int, load: float, rate: float, seconds: float, squared_cv: float = 1.0) -> float:
    """Return the probability that a task waits longer than `seconds`; `rate` is tasks per second of one worker.

    For M/M/n it is C·exp(-(nμ - λ)·t). If service times vary less (a squared coefficient of variation below 1), waits
    are shorter by the factor of Pollaczek and Khinchine: the mean wait of M/G/1 is (1 + cs²)/2 of that of M/M/1.
    """
    spare = (workers - load) * rate
    if spare <= 0:
        return 1.0
    return wait_probability(workers, load) * math.exp(-spare * seconds * 2 / (1 + squared_cv))


@dataclass(frozen=True)
class Capacity:
    """What one worker can do."""

    #: Tasks per second, if enough tasks wait.
    rate: float
    #: Seconds of one turn: a task, or a full batch.
    turn_s: float


def worker_capacity(service: ServiceRate, target_s: float) -> Capacity:
    """Return what a worker can do with full batches; at a low load its batches are small, and it does less.

    The rate is B / t(B), where B is the largest batch whose forward takes at most half of the target, within the limit
    of the model. If the time of batches is not known, or one row takes longer than that, it is the observed rate.
    """
    seen = Capacity(service.rate, 1 / service.rate)
    if service.batch_s is None:
        return seen
    base, slope = service.batch_s
    largest = min(service.largest, (target_s / 2 - base) / slope) if slope > 0 else service.largest
    if largest < 1:
        return seen
    rate = max(service.rate, largest / (base + slope * largest) / service.rows)
    return Capacity(rate, max(base + slope * largest, 1 / rate))  # one task may have more rows than one forward


def workers_needed(rate: float, each: Capacity, squared_cv: float, target_s: float, late: float, most: int) -> int:
    """Return the least number of workers with which at most the share `late` of tasks waits longer than `target_s`.

    With batches, the customers in Erlang's formula are forwards, because a worker is free only when its forward ends.
    Returns `most` if fewer workers do not suffice.
    """
    if rate <= 0:
        return 0
    load, turns = rate / each.rate, 1 / each.turn_s
    few = (n for n in range(most) if long_wait_probability(n, load, turns, target_s, squared_cv) <= late)
    return next(few, most)
