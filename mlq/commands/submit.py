"""The command `mlq submit`: send the rows of a file to a queue; with --wait, collect the answers."""

from __future__ import annotations

import gc
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mlq.cli import job_wait, options
from mlq.cli.invocation import Invocation, JsonCommand, begin, command, single
from mlq.cli.options import RowOrder
from mlq.errors import UsageError
from mlq.jobs import run
from mlq.jobs.collect import failed_rows, output
from mlq.jobs.connections import JobConnections, connected_jobs
from mlq.jobs.exchange import RunOptions, WaitLimits
from mlq.jobs.flow_control import MOST_CHUNKS
from mlq.jobs.input import handles, sources
from mlq.jobs.interrupt import Interrupt, handling_signals
from mlq.jobs.send import destinations, submission
from mlq.jobs.send.submission import Plan, Request

app = single()

MaxInflight = Annotated[
    int | None,
    typer.Option(
        "--max-inflight",
        help=f"Most messages that are sent but not answered at one time, with --wait (default {MOST_CHUNKS}).",
        metavar="N",
        min=1,
    ),
]


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
    max_inflight: MaxInflight = None,
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
    """Send the rows of FILE and print the id of the job; with --wait, the answers.

    \b
    Examples:
      mlq submit rows.jsonl --wait -o out.jsonl --resume    begin or continue
      mlq submit rows.jsonl                                 for `mlq result ID`
      generate | mlq submit - --wait | jq .result

    A row is the input itself, {"id": …, "input": …} or {"custom_id": …, "body": …}. The answers are JSON Lines in the
    order of the input: {"id", "index", "status", "result" or "error"}. The first Ctrl-C stops sending and collects the
    answers of the rows that are sent, for 30 s; the second ends the command at once.
    """
    call = begin(ctx)
    wait_only = (out, resume or None, errors, timeout, max_errors, max_inflight, order is RowOrder.COMPLETION or None)
    _check_options(file, out=out, resume=resume, errors=errors, job_id=job_id, wait_only=() if wait else wait_only)
    _check_chunk(tasks=tasks, chunk=chunk)
    gc.disable()  # rows have no reference cycles, and each run of the collector would visit all of them
    reading = sources.reading_of(format, inline=inline, encoding=encoding, delimiter=delimiter)
    request = Request(sources.find(file, reading, call.terminal.warn), queue, id_field, tasks, job_id, create_queue)
    limits = WaitLimits(timeout, max_errors, max_inflight or MOST_CHUNKS)
    with submission.planned(request, call.settings) as plan, connected_jobs(call.settings) as at:
        command = _again(call.argv, plan, out)
        run_options = RunOptions(priority, chunk, order is RowOrder.INPUT, limits, command)
        if not wait:
            return _send(call, at, plan, run_options)
        return _exchange(call, at, plan, run_options, output.target(out), errors, resume=resume)


def _send(call: Invocation, at: JobConnections, plan: Plan, run_options: RunOptions) -> None:
    plan = submission.attach(destinations.checked(plan, at), at, call.terminal.warn)
    with job_wait.watched(call, at, plan.job) as watcher, handling_signals(interrupt := Interrupt()):
        run.submit(at, plan, run_options, watcher, interrupt)
        watcher.unserved()  # warn now that no worker serves the queue: without --wait there is no later occasion
    collect = f"mlq result {plan.job.id} --wait"
    call.terminal.say(f"answers are kept until `{collect}` takes them, or for 7 days after the last")
    call.terminal.show_text(job_wait.document(at, plan.job.id), plan.job.id)


def _exchange(
    call: Invocation,
    at: JobConnections,
    plan: Plan,
    run_options: RunOptions,
    out: Path | None,
    errors: Path | None,
    *,
    resume: bool,
) -> None:
    at.results()  # before anything is sent: raises if no answers are kept
    plan = destinations.checked(plan, at)
    kept = output.kept(out)
    if kept is not None:
        plan = submission.begin_output(plan, kept, resumes=resume, connections=at)
    plan = submission.attach(plan, at, call.terminal.warn)
    with (
        job_wait.opened(call, out, plan.sidecar) as stream,
        job_wait.watched(call, at, plan.job) as watcher,
        handling_signals(interrupt := Interrupt()),
    ):
        outcome = run.submit_and_collect(at, plan, run_options, stream, watcher, interrupt, kept)
    if errors is not None:
        with output.writing(str(errors), run_options.command):
            failed_rows.write(errors, plan.request.input, outcome.failures)
    job_wait.report(call, at, outcome, kept)


def _check_options(
    file: str, *, out: Path | None, resume: bool, errors: Path | None, job_id: str | None, wait_only: Sequence[object]
) -> None:
    """Refuse combinations of options that make no sense.

    Args:
        file: The input.
        out: The output.
        resume: Whether --resume was given.
        errors: The file of --errors.
        job_id: The id of --job-id.
        wait_only: Without --wait, the values of the options that need it; None for an option that was not given.

    Raises UsageError.
    """
    if any(option is not None for option in wait_only):
        what = "-o, --resume, --errors, --max-errors, --max-inflight, --order and --timeout need --wait"
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
        raise UsageError(what=what, fix="leave --job-id out, and mlq chooses an id")


def _check_chunk(*, tasks: bool, chunk: int | None) -> None:
    if tasks and chunk is not None:
        raise UsageError(what="--tasks sends a message for each row, so it takes no --chunk", fix="leave --chunk out")


def _again(argv: Sequence[str], plan: Plan, out: Path | None) -> str:
    """Return the command that continues the job: this one again, unless the rows came through a pipe."""
    if plan.is_piped:
        return f"mlq result {plan.job.id} --wait"
    kept = output.kept(out) is not None
    more = [] if "--resume" in argv else ["--resume"] if kept else ["--job-id", plan.job.id]
    return shlex.join(["mlq", *argv, *more])
