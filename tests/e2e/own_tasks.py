"""Tasks of a user: test_semantics.py copies this file beside its worker, which imports it.

Each task writes a line to ran.log, which shows every run, even one whose result is not recorded.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from celery import Task, current_app, group, shared_task


def ran(*words: Any) -> None:
    """Write a line at once."""
    with Path("ran.log").open("a") as file:  # O_APPEND
        file.write(" ".join(map(str, words)) + "\n")


def wait_for(gate: str) -> None:
    """Wait until the test creates a file."""
    while not Path(gate).exists():
        time.sleep(0.01)


@shared_task(name="own.note")
def note(*words: Any) -> list[Any]:
    """Write words to the log."""
    ran(*words)
    return list(words)


@shared_task(name="own.add")
def add(one: int, other: int) -> int:
    """Return a sum quickly."""
    return one + other


@shared_task(name="own.total")
def total(numbers: list[Any]) -> int:
    """Return the body's sum of a chord of numbers and of the model's answers."""
    ran("total")
    return sum(n["row"] if isinstance(n, dict) else n for n in numbers)


@shared_task(name="own.fails")
def fails(why: str) -> None:
    """Raise an error."""
    raise ValueError(why)


@shared_task(name="own.too_much")
def too_much() -> None:
    """Raise a MemoryError."""
    ran("too_much")
    raise MemoryError("no memory for this")


@shared_task(name="own.unacked", acks_late=True, acks_on_failure_or_timeout=False)
def unacked(why: str) -> None:
    """Raise an error that does not acknowledge the message."""
    raise ValueError(why)


@shared_task(name="own.total_of_all")
def total_of_all(results: list[Any]) -> int:
    """Return the sum of a chord whose parts may be lists."""
    return sum(total_of_all(r) if isinstance(r, list) else r for r in results)


@shared_task(name="own.adds", bind=True)
def adds(self: Task[Any, Any], number: int, *, many: int) -> int:
    """Add parts to the chord that this task is a part of."""
    ran("adds")
    for n in range(many):
        self.add_to_chord(shared_signature("own.add", n, number))
    return number


@shared_task(name="own.adds_a_chord", bind=True)
def adds_a_chord(self: Task[Any, Any], numbers: list[int]) -> int:
    """Add a chord to the chord that this task is a part of."""
    self.add_to_chord(group(shared_signature("own.add", n, 0) for n in numbers) | shared_signature("own.total"))
    return 0


@shared_task(name="own.replaced", bind=True)
def replaced(self: Task[Any, Any], *numbers: int) -> None:
    """Let a chord answer in place of this task."""
    ran("replaced")
    self.replace(group(shared_signature("own.add", n, 0) for n in numbers) | shared_signature("own.total"))


@shared_task(name="own.states_of")
def states_of(_: list[Any], task_ids: list[str]) -> list[str]:
    """Return the states that the parts of a chord have when its body runs."""
    return [current_app.AsyncResult(task_id).state for task_id in task_ids]


@shared_task(name="own.regrets")
def regrets(request: Any, error: BaseException, _: Any) -> None:
    """Log an error, as an errback that is called in the worker of the failed task with the error itself."""
    ran("regrets", request.id, type(error).__name__)


@shared_task(name="own.breaks")
def breaks(*_: Any) -> None:
    """Raise an error, as an errback that is called in the worker of the failed task."""
    ran("breaks")
    raise ValueError("of the errback")


def shared_signature(name: str, *arguments: Any) -> Any:
    """Return the signature of a task in this file."""
    return current_app.signature(name, arguments)


@shared_task(name="own.sorry")
def sorry(task_id: str) -> None:
    """Log which task failed."""
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
    """Run with an acknowledgement before the run."""
    ran("once")
    wait_for(gate)


@shared_task(name="own.paced", rate_limit="10/s")
def paced(number: int) -> int:
    """Run under a rate limit."""
    ran("paced", number)
    return number


@shared_task(name="own.paced_once", rate_limit="1/h", acks_late=False)
def paced_once(number: int) -> int:
    """Run at most once an hour."""
    ran("paced_once", number)
    return number


@shared_task(name="own.gated")
def gated(gate: str, number: int) -> int:
    """Answer after the test has created a file."""
    ran("gated")
    wait_for(gate)
    return number
