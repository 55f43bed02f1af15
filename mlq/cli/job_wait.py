"""What `submit --wait` and `result` share: answers into a file or onto stdout, with progress."""

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
from mlq.jobs import record
from mlq.jobs.collect import output, sidecar
from mlq.jobs.collect.sidecar import Sidecar
from mlq.jobs.connections import JobConnections
from mlq.jobs.errors import RowsFailed
from mlq.jobs.record import Job, Progress
from mlq.jobs.run import JobOutcome
from mlq.protocol.priorities import queue_keys
from mlq.store.workers import heartbeats
from mlq.terminal import progress

if TYPE_CHECKING:
    from redis import Redis


@dataclass(frozen=True)
class Surroundings:
    """What is around a job: messages that wait in its queue, workers that serve it."""

    waiting: int
    workers: int


def surroundings(store: Redis, queue: str) -> Surroundings | None:
    """Look at a queue and its workers; None while Redis does not say."""
    try:
        with store.pipeline(transaction=False) as pipe:
            for key in queue_keys(queue):
                pipe.llen(key)
            waiting = sum(pipe.execute())
        return Surroundings(waiting, len(heartbeats.serving(heartbeats.read(store), queue)))
    except (RedisError, OSError):
        return None


class JobWatch:
    """Passes news on. That nobody serves the queue is said once each time that the last worker is gone."""

    def __init__(
        self,
        store: Redis,
        queue: str,
        advance: Callable[[int, int], None],
        say: Callable[[str], None],
        nobody: Callable[[str], None],
    ) -> None:
        self._store = store
        self._queue = queue
        self._nobody = nobody
        self._was_served = True
        self.advance = advance
        self.say = say

    def unserved(self) -> None:
        """Nothing has come for a while: look whether anybody serves the queue."""
        seen = surroundings(self._store, self._queue)
        is_served = seen is None or seen.workers > 0
        if self._was_served and not is_served:
            self._nobody(self._queue)
        self._was_served = is_served


@contextmanager
def opened(call: Invocation, path: Path | None, beside: Sidecar | None = None) -> Iterator[BinaryIO]:
    """Open the output, a file that nobody else writes, a stream or stdout; what it is made of is written first.

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
    """Show how a job goes, and say when nobody serves its queue."""

    def unserved(queue: str) -> None:
        start = f"mlq worker start --queues {queue} --cpus 1 --model MODEL"
        call.terminal.warn(f"no worker serves queue {queue!r}: its messages wait (`{start}` starts one)")

    with progress.progress(call.terminal, job.rows, lambda: surroundings(at.store, job.queue)) as advance:
        yield JobWatch(at.store, job.queue, advance, call.terminal.warn, unserved)


def report(call: Invocation, at: JobConnections, outcome: JobOutcome, path: Path | None) -> None:
    """Sum up a finished job.

    Raises RowsFailed, which is exit 6, when a row failed.
    """
    where = f"; answers in {path}" if path else ""
    call.terminal.say(f"job {outcome.job.id}: {outcome.ok} rows ok, {outcome.failed} failed{where}")
    rows = outcome.ok + outcome.failed
    if call.terminal.json:
        ended = {"state": "done", "done": rows, "ok": outcome.ok, "failed": outcome.failed}
        call.terminal.emit({**document(at, outcome.job.id), "rows": rows, **ended})
    if outcome.failed:
        shown = f"`jq 'select(.status == \"error\")' {path}` shows them" if path else "their lines say why"
        raise RowsFailed(failed=outcome.failed, rows=rows, fix=shown)


def find(at: JobConnections, job_id: str) -> Progress:
    """Read a job. Raises NoSuchJob."""
    found = record.read(at.store, at.answers or at.store, job_id)
    if found is None:
        raise NoSuchJob(id=job_id)
    return found


def document(at: JobConnections, job_id: str) -> dict[str, Any]:
    """mlq.job/1: a submitted job."""
    found = record.read(at.store, at.answers or at.store, job_id)
    assert found is not None  # noqa: S101 (it was submitted a moment ago)
    return progress_document(found)


def task_document(task_id: str, *, ok: int, failed: int) -> dict[str, Any]:
    """mlq.job/1: a task that no file made, of which nothing else is recorded."""
    told = {"rows": 1, "tasks": 1, "queue": None, "state": "done", "done": 1, "ok": ok, "failed": failed}
    unknown = dict.fromkeys(("source", "submitted_at", "uncollected_tasks", "kept_s"))
    return {"schema": "mlq.job/1", "job": task_id, **told, **unknown}


def progress_document(found: Progress) -> dict[str, Any]:
    """mlq.job/1: a job and how far it is."""
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
