"""Tasks of a user's own: test_semantics.py copies this file beside its worker, which imports it.

Each leaves a line in ran.log: what really ran, whatever anybody recorded.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from celery import Task, shared_task


def ran(*words: Any) -> None:
    """Write a line down, at once."""
    with Path("ran.log").open("a") as file:  # O_APPEND
        file.write(" ".join(map(str, words)) + "\n")


def wait_for(gate: str) -> None:
    """Run until the test makes a file."""
    while not Path(gate).exists():
        time.sleep(0.01)


@shared_task(name="own.note")
def note(*words: Any) -> list[Any]:
    """Write words down."""
    ran(*words)
    return list(words)


@shared_task(name="own.add")
def add(one: int, other: int) -> int:
    """Be quick."""
    return one + other


@shared_task(name="own.total")
def total(numbers: list[Any]) -> int:
    """End a chord of numbers and of the model's answers."""
    ran("total")
    return sum(n["row"] if isinstance(n, dict) else n for n in numbers)


@shared_task(name="own.fails")
def fails(why: str) -> None:
    """Fail."""
    raise ValueError(why)


@shared_task(name="own.too_much")
def too_much() -> None:
    """Find no memory."""
    ran("too_much")
    raise MemoryError("no memory for this")


@shared_task(name="own.unacked", acks_late=True, acks_on_failure_or_timeout=False)
def unacked(why: str) -> None:
    """Fail, and acknowledge no failure."""
    raise ValueError(why)


@shared_task(name="own.total_of_all")
def total_of_all(results: list[Any]) -> int:
    """End a chord whose parts may be lists of their own."""
    return sum(total_of_all(r) if isinstance(r, list) else r for r in results)


@shared_task(name="own.sorry")
def sorry(task_id: str) -> None:
    """Learn which task failed."""
    ran("sorry", task_id)


@shared_task(name="own.twice", bind=True)
def twice(self: Task[Any, Any], countdown: float) -> int:
    """Succeed at the second try."""
    ran("twice", self.request.retries)
    if not self.request.retries:
        raise self.retry(countdown=countdown)
    return int(self.request.retries)


@shared_task(name="own.once", acks_late=False)
def once(gate: str) -> None:
    """Be acknowledged before it runs."""
    ran("once")
    wait_for(gate)


@shared_task(name="own.paced", rate_limit="10/s")
def paced(number: int) -> int:
    """Be run no oftener than so."""
    ran("paced", number)
    return number


@shared_task(name="own.paced_once", rate_limit="1/h", acks_late=False)
def paced_once(number: int) -> int:
    """Be run an hour after the one before."""
    ran("paced_once", number)
    return number


@shared_task(name="own.gated")
def gated(gate: str, number: int) -> int:
    """Answer when told to."""
    ran("gated")
    wait_for(gate)
    return number
