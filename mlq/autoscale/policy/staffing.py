"""Staffing: what one worker can do, and how many it takes that few tasks wait too long. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlq.autoscale.policy.erlang import waits_longer

if TYPE_CHECKING:
    from mlq.autoscale.policy.service import Service


@dataclass(frozen=True)
class Capacity:
    """`rate`: tasks a second of one worker that has enough to do; `turn_s`: what it does at a time takes so long."""

    rate: float
    turn_s: float


def capacity(service: Service, target_s: float) -> Capacity:
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
