"""The part that `submit --wait` and `result` share: write answers to a file or stdout, and show progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from redis.exceptions import RedisError

from mlq.cli.invocation import Invocation
from mlq.errors import NoSuchJob
from mlq.jobs.collect import output, sidecar
from mlq.jobs.collect.sidecar import Sidecar
from mlq.jobs.connections import JobConnections
from mlq.jobs.errors import RowsFailed
from mlq.jobs.run import JobOutcome
from mlq.store.jobs import record
from mlq.store.jobs.record import Job, Progress
from mlq.store.queues import backlog
from mlq.store.workers import heartbeats
from mlq.terminal import progress

if TYPE_CHECKING:
    from redis import Redis


@dataclass(frozen=True)
class Surroundings:
    """The state of a job's queue."""

    waiting: int
    """Messages that wait in the queue."""
    workers: int
    """Workers that serve the queue."""


def surroundings(store: Redis, queue: str) -> Surroundings | None:
    """Count the waiting messages and the workers of a queue; None while Redis does not respond."""
    try:
        return Surroundings(backlog.count(store, queue), len(heartbeats.serving(heartbeats.read(store), queue)))
    except (RedisError, OSError):
        return None


class JobWatch:
    """Reports the progress of a job, and warns once each time that its queue has lost its last worker."""

    def __init__(
        self,
        store: Redis,
        queue: str,
        advance: Callable[[int, int], None],
        say: Callable[[str], None],
        warn_unserved: Callable[[str], None],
    ) -> None:
        self._store = store
        self._queue = queue
        self._warn_unserved = warn_unserved
        self._was_served = True
        self.advance = advance
        self.say = say

    def unserved(self) -> None:
        """Check whether a worker serves the queue; to be called when no answer has come for a while."""
        seen = surroundings(self._store, self._queue)
        is_served = seen is None or seen.workers > 0
        if self._was_served and not is_served:
            self._warn_unserved(self._queue)
        self._was_served = is_served


@contextmanager
def opened(call: Invocation, path: Path | None, beside: Sidecar | None = None) -> Iterator[BinaryIO]:
    """Open the output of answers.

    Args:
        call: This call of mlq.
        path: A file, which is locked against other commands, or a stream; None for stdout.
        beside: The sidecar to write beside a file before its first line.

    Raises OutputBusy, NoSuchFile, OutputFailed.
    """
    if path is None:
        yield sys.stdout.buffer
        return
    if output.kept(path) is None:
        with output.streamed(path, call.terminal.warn) as stream:
            yield stream
        return
    with output.appended(path, lambda: sidecar.write(path, beside) if beside else None) as stream:
        yield stream


@contextmanager
def watched(call: Invocation, at: JobConnections, job: Job) -> Iterator[JobWatch]:
    """Show the progress of a job, and warn when no worker serves its queue."""

    def warn_unserved(queue: str) -> None:
        start = f"mlq worker start --queues {queue} --cpus 1 --model MODEL"
        call.terminal.warn(f"no worker serves queue {queue!r}: its messages wait (`{start}` starts one)")

    with progress.progress(call.terminal, job.rows, lambda: surroundings(at.store, job.queue)) as advance:
        yield JobWatch(at.store, job.queue, advance, call.terminal.warn, warn_unserved)


def report(call: Invocation, at: JobConnections, outcome: JobOutcome, path: Path | None) -> None:
    """Print the summary of a finished job.

    Raises RowsFailed (exit 6) if a row failed.
    """
    where = f"; answers in {path}" if path else ""
    call.terminal.say(f"job {outcome.job.id}: {outcome.ok} rows ok, {outcome.failed} failed{where}")
    rows = outcome.ok + outcome.failed
    if call.terminal.json:
        ended = {"state": "done", "done": rows, "ok": outcome.ok, "failed": outcome.failed}
        call.terminal.emit({**document(at, outcome.job.id), "rows": rows, **ended})
    if outcome.failed:
        fix = f"`jq 'select(.status == \"error\")' {path}` shows them" if path else "their lines say why"
        raise RowsFailed(failed=outcome.failed, rows=rows, fix=fix)


def find(at: JobConnections, job_id: str) -> Progress:
    """Read the progress of a job. Raises NoSuchJob."""
    found = record.read(at.store, at.answers or at.store, job_id)
    if found is None:
        raise NoSuchJob(id=job_id)
    return found


def document(at: JobConnections, job_id: str) -> dict[str, Any]:
    """Describe a submitted job as mlq.job/1."""
    found = record.read(at.store, at.answers or at.store, job_id)
    assert found is not None  # noqa: S101 (its record was written when it was submitted)
    return progress_document(found)


def task_document(task_id: str, *, ok: int, failed: int) -> dict[str, Any]:
    """Describe a single task as mlq.job/1; fields that are recorded for jobs only are null."""
    known = {"rows": 1, "tasks": 1, "queue": None, "state": "done", "done": 1, "ok": ok, "failed": failed}
    unknown = dict.fromkeys(("source", "submitted_at", "uncollected_tasks", "kept_s"))
    return {"schema": "mlq.job/1", "job": task_id, **known, **unknown}


def progress_document(found: Progress) -> dict[str, Any]:
    """Describe a job and its progress as mlq.job/1."""
    return {
        "schema": "mlq.job/1",
        "job": found.job.id,
        "rows": found.rows,
        "tasks": found.tasks,
        "queue": found.job.queue,
        "state": found.state,
        "done": found.done,
        "ok": found.ok,
        "failed": found.failed,
        "source": found.job.source,
        "submitted_at": found.sent_at,
        "uncollected_tasks": found.uncollected,
        "kept_s": found.kept_s,
    }
