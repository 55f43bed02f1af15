"""A job's run, assembled from its parts: submit only, submit and collect, or collect only."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from mlq.broker.retries import Retry
from mlq.broker.server_time import ServerClock
from mlq.jobs.chunk import Chunk, ChunkFeed
from mlq.jobs.collect import output, resumption, sidecar
from mlq.jobs.collect.collector import JobResults
from mlq.jobs.collect.output import Output
from mlq.jobs.collect.sidecar import Sidecar
from mlq.jobs.connections import JobConnections
from mlq.jobs.errors import AnswersExpired, Interrupted, JobCancelled, JobCollected, JobStopped, Unfinished
from mlq.jobs.exchange import Exchange, RunOptions, Watcher
from mlq.jobs.flow_control import Pressure
from mlq.jobs.interrupt import Interrupt
from mlq.jobs.send.sender import RowSender
from mlq.jobs.send.sender_liveness import living
from mlq.jobs.send.submission import Plan
from mlq.store.jobs import record
from mlq.store.jobs.job_tokens import take_over
from mlq.store.jobs.record import Job, Progress

if TYPE_CHECKING:
    from redis import Redis

_PAUSE_S: Final = 0.25
_LOOK_EVERY_S: Final = 1.0

_BLIND_ROWS: Final = 128
"""Rows in a chunk if no results are collected, from which a better size could be learned."""


@dataclass(frozen=True)
class JobOutcome:
    """How a run ended."""

    job: Job

    ok: int
    """Rows that were answered, those of earlier runs included."""

    failed: int
    """Rows that failed, those of earlier runs included."""

    failures: tuple[int, ...] = ()
    """Indexes of the rows that failed in this run."""


def submit(
    connections: JobConnections, plan: Plan, options: RunOptions, watcher: Watcher, interrupt: Interrupt
) -> None:
    """Send every row.

    Raises Interrupted (the same command continues), JobCancelled, JobTaken, NotJson for an array from a pipe that
    breaks off.
    """
    token = secrets.token_hex(8)
    with living(connections.store, plan.job.id, token):
        job = _become_sender(connections.store, plan.job, token)
        _SendOnly(connections, replace(plan, job=job), options, watcher, interrupt, token).run()


class _SendOnly:
    """A run that collects no results."""

    def __init__(
        self,
        connections: JobConnections,
        plan: Plan,
        options: RunOptions,
        watcher: Watcher,
        interrupt: Interrupt,
        token: str,
    ) -> None:
        self._store, self._job, self._options, self._interrupt = connections.store, plan.job, options, interrupt
        self._retry = Retry(watcher.say, self._check_stop)
        self._sender = _sender(connections, plan, options, watcher, self._retry, token)

    def run(self) -> None:
        """Send every row. Raises what `submit` raises."""
        sender, look_at = self._sender, 0.0
        while not sender.is_done:
            self._check_stop()
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + _LOOK_EVERY_S
                if self._retry(lambda: record.is_cancelled(self._store, self._job.id)):
                    waiting, rows = self._left()
                    raise JobCancelled(job=self._job.id, waiting=waiting, rows=rows, command=self._options.command)
            rows = self._options.chunk_rows or _BLIND_ROWS
            if not sender.step(rows, lambda *_: True, lambda *_: None) and not sender.is_done:
                time.sleep(_PAUSE_S)
        _complete(self._store, self._job, sender)

    def _check_stop(self) -> None:
        if self._interrupt.requested:
            waiting, rows = self._left()
            raise Interrupted(waiting=waiting, rows=rows, command=self._options.command)

    def _left(self) -> tuple[int, int]:
        """Return the number of rows that are not sent, and of all rows that are known."""
        rows = self._job.rows or self._sender.taken
        return rows - self._sender.taken, rows


def submit_and_collect(
    connections: JobConnections,
    plan: Plan,
    options: RunOptions,
    stream: BinaryIO,
    watcher: Watcher,
    interrupt: Interrupt,
    path: Path | None = None,
) -> JobOutcome:
    """Send every row and write every answer to `stream`; `path` is the output if it is a file.

    Raises OutputFailed, TimedOut, Interrupted, JobCancelled, TooManyFailed, JobTaken. The answers that arrived before
    that are written.
    """
    token, held = secrets.token_hex(8), plan.held
    ok, failed = (held.ok, held.failed) if held else (0, 0)
    out = Output(stream, ok, failed, path=path, command=options.command)
    noting = _ModelNote(path, plan.sidecar, watcher)
    with living(connections.store, plan.job.id, token):
        exchange = Exchange(
            connections, plan.job, out, options, watcher, interrupt, held=held, answered_by=noting.answered_by
        )
        exchange.results.begin()
        pending = _pending(connections, plan, exchange.results)
        job = _become_sender(connections.store, plan.job, token)
        rest = replace(plan, job=job, settled=_settled(plan.settled, pending))
        sender = _sender(connections, rest, options, watcher, exchange.retry, token)
        exchange.run(pending, sender)
        job = _complete(connections.store, job, sender)
    if path is not None and held is not None and not held.in_order:
        with output.writing(str(path), options.command):
            resumption.put_in_order(path, len(held.rows))
    return JobOutcome(job, out.ok, out.failed, exchange.failures)


def collect(
    connections: JobConnections,
    found: Progress,
    options: RunOptions,
    stream: BinaryIO,
    watcher: Watcher,
    interrupt: Interrupt,
    path: Path | None = None,
) -> JobOutcome:
    """Write the answers of a submitted job to `stream` as they arrive; `path` is the output if it is a file.

    Raises OutputFailed, TimedOut, Interrupted, JobCancelled, JobTaken, JobCollected, AnswersExpired.
    """
    out = Output(stream, path=path, command=options.command)
    exchange = Exchange(connections, found.job, out, options, watcher, interrupt)
    pending = list(exchange.results.uncollected())
    if not pending:
        raise JobCollected(id=found.job.id)
    if record.have_expired(connections.store, connections.results(), found.job.id):
        raise AnswersExpired(job=found.job.id)
    exchange.results.begin()
    exchange.run(pending)
    return JobOutcome(found.job, out.ok, out.failed, exchange.failures)


def demand_finished(found: Progress) -> None:
    """Check that every row of a job has a result. Raises Unfinished, JobStopped."""
    if found.state == "stopped":
        raise JobStopped(job=found.job.id, waiting=found.rows - found.done, rows=found.rows)
    if found.done < found.rows or found.job.rows is None:
        raise Unfinished(job=found.job.id, waiting=found.rows - found.done, rows=found.rows)


def _become_sender(store: Redis, job: Job, token: str) -> Job:
    """Become the job's only sender: Redis refuses the earlier one from now on. Return the job with its token."""
    return replace(job, token=take_over(store, job.id, token))


def _sender(
    connections: JobConnections, plan: Plan, options: RunOptions, watcher: Watcher, retry: Retry, token: str
) -> RowSender:
    """Create the sender of the rows that are not settled."""
    feed = ChunkFeed(
        plan.source,
        plan.job.kind,
        plan.naming,
        number=record.next_chunk(connections.store, plan.job.id),
        settled=plan.settled,
        queue_error=plan.queues.error if plan.queues is not None else lambda _: None,
    )
    clock = ServerClock(connections.store)
    clock.refresh()
    return RowSender(
        plan.job,
        feed,
        connections.chunk_sender(plan.job, token),
        Pressure(connections.store, watcher.say),
        retry,
        clock.now,
        priority=options.priority,
        keep_results=connections.answers is not None,
    )


def _pending(connections: JobConnections, plan: Plan, results: JobResults) -> list[Chunk]:
    """Return the chunks that an earlier process sent and did not write.

    Records of other chunks are deleted: of a chunk whose rows have their lines, and, where recording and publishing are
    two steps, of the last chunk, which was perhaps not published.
    """
    store, job_id = connections.store, plan.job.id
    last = record.next_chunk(store, job_id) - 1
    pending = []
    for chunk in results.uncollected():
        is_written = plan.held is not None and all(map(plan.held.has, chunk.indexes))
        is_unsure = not connections.one_step and chunk.number == last
        if is_written or is_unsure:
            record.forget_chunks(store, job_id, [chunk.number])
        else:
            pending.append(chunk)
    return pending


def _settled(settled: bytes, pending: list[Chunk]) -> bytes:
    """Add the rows of pending chunks to the settled rows, so that they are not sent again."""
    rows = bytearray(settled)
    for chunk in pending:
        rows.extend(bytes(max(0, max(chunk.indexes) + 1 - len(rows))))
        for index in chunk.indexes:
            rows[index] = 1
    return bytes(rows)


def _complete(store: Redis, job: Job, sender: RowSender) -> Job:
    """Record the number of rows of a job that reads a pipe, once the pipe has ended. Return the job with it."""
    if job.rows is not None or not sender.has_read_all:
        return job
    record.complete(store, job.id, sender.taken)
    return replace(job, rows=sender.taken)


class _ModelNote:
    """Keeps the fingerprint of the model in the sidecar, and says so when another model answers the rest."""

    def __init__(self, path: Path | None, beside: Sidecar | None, watcher: Watcher) -> None:
        self._path = path
        self._sidecar = beside
        self._watcher = watcher

    def answered_by(self, model: str) -> None:
        """Take the fingerprint of the model that answered the latest chunk."""
        beside = self._sidecar
        if beside is None or self._path is None or beside.model == model:
            return
        if beside.model is not None:
            self._watcher.say(f"from here on another model answers: {model}, until now {beside.model}")
        self._sidecar = beside.answered_by(model)
        sidecar.write(self._path, self._sidecar)
