"""mlq submit: rows of a file into the queue, answers back."""

from __future__ import annotations

import gc
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from mlq.cli import job_wait, options
from mlq.cli.invocation import Invocation, JsonCommand, begin, command, single
from mlq.cli.options import RowOrder
from mlq.errors import UsageError
from mlq.jobs import run
from mlq.jobs.collect import failed_rows, output
from mlq.jobs.connections import JobConnections, desk
from mlq.jobs.exchange import WaitLimits
from mlq.jobs.input import handles, sources
from mlq.jobs.interrupt import Halt, heeding
from mlq.jobs.run import RunOptions
from mlq.jobs.send import destinations, submission
from mlq.jobs.send.submission import Plan, Request
from mlq.jobs.send.window import MOST_CHUNKS

app = single()


@command(app, cls=JsonCommand)
def submit(  # noqa: PLR0913 (an option each)
    ctx: typer.Context,
    file: options.Input,
    *,
    queue: options.Queue = None,
    priority: options.Priority = None,
    wait: options.Wait = False,
    out: options.Out = None,
    resume: options.Resume = False,
    order: options.OrderOption = RowOrder.INPUT,
    errors: options.Errors = None,
    max_errors: options.MaxErrors = None,
    max_inflight: options.MaxInflight = None,
    timeout: options.Timeout = None,
    id_field: options.IdField = None,
    job_id: options.JobId = None,
    format: options.FormatOption = None,  # noqa: A002 (its name on the command line)
    encoding: options.Encoding = None,
    delimiter: options.Delimiter = None,
    inline: options.Inline = False,
    tasks: options.Tasks = False,
    chunk: options.ChunkRows = None,
    create_queue: options.CreateQueue = False,
) -> None:
    """Send the rows of FILE; print the job's id, or with --wait the answers.

    \b
    Examples:
      mlq submit rows.jsonl --wait -o out.jsonl --resume    begin, or go on after anything
      mlq submit rows.jsonl                                 prints an id; `mlq result ID` later
      generate | mlq submit - --wait | jq .result

    A row is the input itself, {"id": …, "input": …} or {"custom_id": …, "body": …}. A single row goes to the most
    urgent queue, a file to the least urgent one. Answers are JSON Lines in input order: {"id", "index", "status",
    "result" or "error"}. Ctrl-C once stops sending and collects what is on its way, for 30 s; twice ends at once.
    """
    call = begin(ctx)
    later = (out, resume or None, errors, timeout, max_errors, max_inflight, order is RowOrder.COMPLETION or None)
    _demand_sense(file, out=out, resume=resume, errors=errors, job_id=job_id, later=() if wait else later)
    _demand_rows(tasks=tasks, chunk=chunk)
    gc.disable()  # rows make no cycles, and each pass of the collector would look at all of them
    reading = sources.reading_of(format, inline=inline, encoding=encoding, delimiter=delimiter)
    request = Request(sources.find(file, reading, call.terminal.warn), queue, id_field, tasks, job_id, create_queue)
    limits = WaitLimits(timeout, max_errors, max_inflight or MOST_CHUNKS)
    manner = RunOptions(priority, chunk, order is RowOrder.INPUT, limits)
    with submission.planned(request, call.settings) as plan, desk(call.settings) as at:
        manner.command = _again(plan, out)
        if not wait:
            return _send(call, at, plan, manner)
        return _exchange(call, at, plan, manner, output.target(out), errors, resume=resume)


def _send(call: Invocation, at: JobConnections, plan: Plan, manner: RunOptions) -> None:
    destinations.check(plan, at)
    submission.attach(plan, at, call.terminal.warn)
    with job_wait.watched(call, at, plan.job) as watcher, heeding(halt := Halt()):
        run.submit(at, plan, manner, watcher, halt)
        watcher.unserved()  # nobody waits here, who would hear of it later
    collect = f"mlq result {plan.job.id} --wait"
    call.terminal.say(f"answers are kept until `{collect}` takes them, or for 7 days after the last")
    call.terminal.show_text(job_wait.document(at, plan.job.id), plan.job.id)


def _exchange(
    call: Invocation,
    at: JobConnections,
    plan: Plan,
    manner: RunOptions,
    out: Path | None,
    errors: Path | None,
    *,
    resume: bool,
) -> None:
    at.results  # noqa: B018 (raises where no answers are kept)
    destinations.check(plan, at)
    kept = output.kept(out)
    if kept is not None:
        submission.begin_output(plan, kept, resumes=resume, desk=at)
    submission.attach(plan, at, call.terminal.warn)
    with (
        job_wait.opened(call, out, plan.sidecar) as stream,
        job_wait.watched(call, at, plan.job) as watcher,
        heeding(halt := Halt()),
    ):
        outcome = run.exchange(at, plan, manner, stream, watcher, halt, kept)
    if errors is not None:
        with output.writing(str(errors), manner.command):
            failed_rows.write(errors, plan.request.input, outcome.failures)
    job_wait.report(call, at, outcome, kept)


def _demand_sense(
    file: str, *, out: Path | None, resume: bool, errors: Path | None, job_id: str | None, later: Sequence[object]
) -> None:
    """Refuse options that would be ignored; `later` are those that need --wait, where that is missing."""
    if any(option is not None for option in later):
        what = "-o, --resume, --errors, --max-errors, --max-inflight, --order and --timeout are for waiting"
        raise UsageError(what=what, fix="add --wait, or use `mlq result ID -o OUT` later")
    once, kept = handles.is_once(file), output.kept(output.target(out))
    if resume and (kept is None or once):
        raise UsageError(what="--resume needs an input and an output that are files", fix="name them: FILE … -o OUT")
    if errors is not None:
        if once:
            raise UsageError(what="--errors needs an input that is a file", fix="write the rows to a file first")
        if out is not None and errors.absolute() == out.absolute():
            raise UsageError(what=f"--errors and -o both name {out}", fix="name two files: -o OUT --errors FAILED")
        output.demand_new(errors, Path(file))
    if job_id is not None and (once or not submission.is_job_id(job_id)):
        what = "--job-id needs an input that is a file, and 1 to 64 letters, digits or . _ -"
        raise UsageError(what=what, fix="leave it out, and mlq makes one")


def _demand_rows(*, tasks: bool, chunk: int | None) -> None:
    if tasks and chunk is not None:
        raise UsageError(what="--tasks sends a message for each row, so there is no --chunk", fix="leave it out")


def _again(plan: Plan, out: Path | None) -> str:
    """Write the command that goes on: this one again, unless the rows came through a pipe."""
    if plan.is_piped:
        return f"mlq result {plan.job.id} --wait"
    kept = output.kept(out) is not None
    more = [] if "--resume" in sys.argv else ["--resume"] if kept else ["--job-id", plan.job.id]
    return shlex.join(["mlq", *sys.argv[1:], *more])
