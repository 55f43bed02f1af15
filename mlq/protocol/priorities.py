"""Priorities: the Redis lists into which kombu splits a queue, and the order in which mlq serves them."""

from __future__ import annotations

from bisect import bisect
from typing import Final, Literal

_STEPS: Final = (0, 3, 6, 9)
"""kombu rounds a priority down to one of these; Celery's own workers serve 0 first, as the most urgent."""

PriorityOrder = Literal["mlq", "stock"]
"""Which of a queue's lists is served first: 9 before 0 (mlq), or 0 before 9 as in Celery's own workers (stock)."""

_SEPARATOR: Final = "\x06\x16"


def queue_key(queue: str, priority: int = 0) -> str:
    """Return the key of the list into which kombu publishes a message of this priority."""
    step = _STEPS[bisect(_STEPS, max(0, priority)) - 1]
    return f"{queue}{_SEPARATOR}{step}" if step else queue


def queue_keys(queue: str, order: PriorityOrder = "mlq") -> list[str]:
    """Return the keys of all lists of a queue, the most urgent first."""
    return [queue_key(queue, step) for step in (_STEPS if order == "stock" else reversed(_STEPS))]


def queue_of(key: str) -> str:
    """Return the name of the queue to which a list belongs."""
    return key.partition(_SEPARATOR)[0]
