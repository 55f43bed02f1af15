"""Erlang C: how likely a task waits, and how long, in front of a number of workers (A. K. Erlang, 1917)."""

from __future__ import annotations

import math


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
