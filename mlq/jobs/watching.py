"""Wait for a job: its answers into an output, with a deadline, and a word when nobody serves its queue."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mlq.broker import heartbeats
from mlq.errors import Interrupted, NoSuchJob, TimedOut, Unfinished
from mlq.jobs.collection import Answers, Waiting, metas
from mlq.jobs.connecting import Desk
from mlq.jobs.job import Job
from mlq.jobs.output import Output

if TYPE_CHECKING:
    from redis import Redis

UNSERVED_AFTER_S: Final = 5.0


def collect(
    job: Job,
    answers: Answers,
    output: Output,
    *,
    advance: Callable[[int, int], None],
    unserved: Callable[[], None],
    timeout: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Write every answer as it comes. `unserved` is called each time that a wait turns out to be for nobody.

    Raises TimedOut, Interrupted (Ctrl-C); what is answered by then is written, and nothing is lost.
    """
    began = clock()
    look_at = began + UNSERVED_AFTER_S
    try:
        for seen in answers:
            if not isinstance(seen, Waiting):
                output.add(seen)
                advance(output.done, output.failed)
                continue
            now = clock()
            if timeout is not None and now - began > timeout:
                raise TimedOut(seconds=timeout, **_left(job, output))
            if seen.idle_s >= UNSERVED_AFTER_S and now >= look_at:
                unserved()
                look_at = now + UNSERVED_AFTER_S
    except KeyboardInterrupt:
        raise Interrupted(**_left(job, output)) from None


def demand_finished(at: Desk, job: Job) -> None:
    """Check that every answer of a job is there.

    Raises Unfinished; NoSuchJob for a task: of one that waits and one that never was, the store says the same.
    """
    sent = [c for c in job.chunks if not c.unanswerable]
    found = metas(at.app, [job.task_id(c) for c in sent])
    waiting = sum(len(c.rows) for c, meta in zip(sent, found, strict=True) if meta is None)
    if waiting and job.is_task:
        raise NoSuchJob(id=job.id)
    if waiting:
        raise Unfinished(job=job.id, waiting=waiting, rows=job.rows)


def is_served(store: Redis, queue: str) -> bool:
    """Tell whether any live worker takes from a queue."""
    return bool(heartbeats.serving(heartbeats.read(store), queue))


def _left(job: Job, output: Output) -> dict[str, object]:
    return {"waiting": job.rows - output.done, "rows": job.rows, "command": f"mlq result {job.id} --wait"}
