"""Running: the parts of an exchange put together: to submit and wait, to submit only, to collect only."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

from mlq.broker.retries import Retry
from mlq.broker.server_time import ServerClock
from mlq.jobs.chunk import Chunk
from mlq.jobs.collect import output, resumption, sidecar
from mlq.jobs.collect.collector import Collector
from mlq.jobs.collect.output import Output
from mlq.jobs.collect.results import JobResults
from mlq.jobs.collect.resumption import Held
from mlq.jobs.connections import JobConnections
from mlq.jobs.errors import AnswersExpired, Interrupted, JobCancelled, JobCollected, JobStopped, Unfinished
from mlq.jobs.exchange import Exchange, WaitLimits, Watcher
from mlq.jobs.interrupt import Halt
from mlq.jobs.send.back_pressure import Pressure
from mlq.jobs.send.chunk_feed import Feeder
from mlq.jobs.send.pace import Pace
from mlq.jobs.send.sender import Sender
from mlq.jobs.send.sender_liveness import living
from mlq.jobs.send.submission import Plan
from mlq.jobs.send.window import Window
from mlq.store.jobs import record
from mlq.store.jobs.job_tokens import take_over
from mlq.store.jobs.record import Job, Progress

_PAUSE_S: Final = 0.25
_LOOK_EVERY_S: Final = 1.0

_BLIND_ROWS: Final = 128
"""Rows in a chunk if no results are collected, from which a better size could be learned."""


@dataclass
class RunOptions:
    """How to send and collect. `command` goes on with what an interruption leaves."""

    priority: int | None = None
    chunk_rows: int | None = None
    in_order: bool = True
    limits: WaitLimits = field(default_factory=WaitLimits)
    command: str = ""


@dataclass(frozen=True)
class JobOutcome:
    """How a run ended. `failures` are the indexes of rows that failed, in the order of their ends."""

    job: Job
    ok: int
    failed: int
    failures: tuple[int, ...] = ()


def submit(desk: JobConnections, plan: Plan, manner: RunOptions, watcher: Watcher, halt: Halt) -> None:
    """Send every row.

    Raises Interrupted (the same call goes on), JobCancelled, JobTaken, NotJson where a pipe's array breaks.
    """
    insist, token = Retry(watcher.say), secrets.token_hex(8)
    with living(desk.store, plan.job.id, token):
        sender = _sender(desk, plan, manner, watcher, insist, token)
        insist.patient = partial(_demand_patience, plan, manner, sender, halt)
        _send_all(desk, plan, manner, sender, insist)
    _complete(desk, plan, sender)


def _demand_patience(plan: Plan, manner: RunOptions, sender: Sender, halt: Halt) -> None:
    if halt.asked:
        raise Interrupted(**_unsent(plan, manner, sender))


def _unsent(plan: Plan, manner: RunOptions, sender: Sender) -> dict[str, Any]:
    rows = plan.job.rows or sender.taken
    return {"waiting": rows - sender.taken, "rows": rows, "command": manner.command}


def _send_all(desk: JobConnections, plan: Plan, manner: RunOptions, sender: Sender, insist: Retry) -> None:
    look_at = 0.0
    while not sender.is_done:
        insist.patient()
        if time.monotonic() >= look_at:
            look_at = time.monotonic() + _LOOK_EVERY_S
            if insist(lambda: record.is_cancelled(desk.store, plan.job.id)):
                raise JobCancelled(job=plan.job.id, **_unsent(plan, manner, sender))
        if not sender.step(manner.chunk_rows or _BLIND_ROWS, lambda *_: True, _nobody) and not sender.is_done:
            time.sleep(_PAUSE_S)


def exchange(
    desk: JobConnections,
    plan: Plan,
    manner: RunOptions,
    stream: BinaryIO,
    watcher: Watcher,
    halt: Halt,
    path: Path | None = None,
) -> JobOutcome:
    """Send every row and write every answer; `path` is the output, where it is a file.

    Raises OutputFailed, TimedOut, Interrupted, JobCancelled, TooManyFailed, JobTaken; what is answered by then is
    written.
    """
    insist, token, held = Retry(watcher.say), secrets.token_hex(8), plan.held
    with living(desk.store, plan.job.id, token):
        ends = JobResults(desk.store, desk.results, plan.job.id, insist)
        ends.begin()
        pending = _pending(desk, plan, ends)
        sender = _sender(desk, plan, manner, watcher, insist, token)
        ok, failed = (held.ok, held.failed) if held else (0, 0)
        out = Output(stream, ok, failed, path=path, command=manner.command)
        run = _assemble(plan.job, manner, watcher, halt, ends, out, held=held, answered_by=_noting(plan, path, watcher))
        insist.patient = run.demand_patience
        run.sender = sender
        run.rows = lambda: plan.job.rows or sender.taken
        outcome = _go(run, plan.job, pending)
        _complete(desk, plan, sender)
    if path is not None and held is not None and not held.in_order:
        with output.writing(str(path), manner.command):
            resumption.put_in_order(path, len(held.rows))
    return outcome


def collect(
    desk: JobConnections,
    found: Progress,
    manner: RunOptions,
    stream: BinaryIO,
    watcher: Watcher,
    halt: Halt,
    path: Path | None = None,
) -> JobOutcome:
    """Write the answers of a job that was submitted, as they come; `path` is the output, where it is a file.

    Raises OutputFailed, TimedOut, Interrupted, JobCancelled, JobTaken, JobCollected, AnswersExpired.
    """
    insist = Retry(watcher.say)
    ends = JobResults(desk.store, desk.results, found.job.id, insist)
    pending = list(ends.uncollected())
    if not pending:
        raise JobCollected(id=found.job.id)
    if record.have_expired(desk.store, desk.results, found.job.id):
        raise AnswersExpired(job=found.job.id)
    ends.begin()
    run = _assemble(found.job, manner, watcher, halt, ends, Output(stream, path=path, command=manner.command))
    insist.patient = run.demand_patience
    run.rows = lambda: sum(map(len, pending))
    return _go(run, found.job, pending)


def demand_finished(found: Progress) -> None:
    """Check that every answer of a job is there. Raises Unfinished, JobStopped."""
    if found.state == "stopped":
        raise JobStopped(job=found.job.id, waiting=found.rows - found.done, rows=found.rows)
    if found.done < found.rows or found.job.rows is None:
        raise Unfinished(job=found.job.id, waiting=found.rows - found.done, rows=found.rows)


def _go(run: Exchange, job: Job, pending: list[Chunk]) -> JobOutcome:
    for chunk in pending:
        run.collector.sent(chunk, 0)
    run.run()
    return JobOutcome(job, run.output.ok, run.output.failed, tuple(sorted(run.collector.failures)))


def _assemble(  # noqa: PLR0913 (what a run needs; each is one thing)
    job: Job,
    manner: RunOptions,
    watcher: Watcher,
    halt: Halt,
    ends: JobResults,
    out: Output,
    *,
    held: Held | None = None,
    answered_by: Callable[[str], None] = lambda _: None,
) -> Exchange:
    window, pace = Window(in_order=manner.in_order), Pace(manner.chunk_rows)
    single = job.kind == "single"
    collector = Collector(ends, window, out, pace, single=single, held=held, answered_by=answered_by)
    return Exchange(
        job_id=job.id,
        sender=None,
        collector=collector,
        window=window,
        pace=pace,
        output=out,
        limits=manner.limits,
        halt=halt,
        watcher=watcher,
        rows=lambda: job.rows or 0,
        is_cancelled=ends.are_cancelled,
        demand_ours=ends.demand_ours,
        command=manner.command,
    )


def _sender(
    desk: JobConnections, plan: Plan, manner: RunOptions, watcher: Watcher, insist: Retry, token: str
) -> Sender:
    """Become the job's sender: whoever was before is refused from now on.

    `alive` says that this sender gives signs of life, which those of older versions do not.
    """
    plan.job = replace(plan.job, token=take_over(desk.store, plan.job.id, token))
    following = record.next_chunk(desk.store, plan.job.id)
    feeder = Feeder(
        plan.source,
        plan.job.kind,
        plan.naming,
        number=following,
        settled=bytes(plan.settled),
        misplaced=plan.queues.misfit if plan.queues is not None else lambda _: None,
    )
    pressure = Pressure(desk.store, watcher.say)
    answered = desk.answers is not None
    post = desk.post(plan.job, token)
    sender = Sender(plan.job, feeder, post, pressure, insist, priority=manner.priority, answered=answered)
    clock = ServerClock(desk.store)
    clock.refresh()
    sender.now = clock.now
    return sender


def _pending(desk: JobConnections, plan: Plan, ends: JobResults) -> list[Chunk]:
    """Find what an earlier process sent and did not write; settle its rows, so that they are not sent again."""
    following = record.next_chunk(desk.store, plan.job.id)
    pending = []
    for chunk in ends.uncollected():
        written = plan.held is not None and all(map(plan.held.has, chunk.indexes))
        unsure = not desk.one_step and chunk.number == following - 1
        if written or unsure:
            record.forget_chunks(desk.store, plan.job.id, [chunk.number])
            continue
        pending.append(chunk)
        last = max(chunk.indexes)
        plan.settled.extend(bytes(max(0, last + 1 - len(plan.settled))))
        for index in chunk.indexes:
            plan.settled[index] = 1
    return pending


def _complete(desk: JobConnections, plan: Plan, sender: Sender) -> None:
    if plan.job.rows is None and sender.has_read_all:
        plan.job = replace(plan.job, rows=sender.taken)
        record.complete(desk.store, plan.job.id, sender.taken)


def _noting(plan: Plan, path: Path | None, watcher: Watcher) -> Callable[[str], None]:
    """Keep the model's fingerprint beside the output, and say when another model answers the rest."""

    def note(model: str) -> None:
        begun = plan.sidecar
        if begun is None or path is None or begun.model == model:
            return
        if begun.model is not None:
            watcher.say(f"from here on another model answers: {model}, until now {begun.model}")
        plan.sidecar = begun.answered_by(model)
        sidecar.write(path, plan.sidecar)

    return note


def _nobody(chunk: Chunk, size: int) -> None:
    """Ignore a chunk that was sent."""
