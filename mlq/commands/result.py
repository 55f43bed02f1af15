"""The command `mlq result`: collect the answers of a job, or the result of a single task."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from mlq.cli import job_wait, options
from mlq.cli.invocation import Invocation, JsonCommand, begin, command, single
from mlq.errors import UsageError
from mlq.jobs import run
from mlq.jobs.collect import output, single_task
from mlq.jobs.collect.output import Output
from mlq.jobs.connections import JobConnections, connected_jobs
from mlq.jobs.errors import AnswersThere, JobCollected, RowsFailed
from mlq.jobs.exchange import RunOptions, WaitLimits
from mlq.jobs.interrupt import Interrupt, handling_signals
from mlq.store.jobs import record
from mlq.store.jobs.record import Progress

app = single()


@command(app, cls=JsonCommand)
def result(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(help="Id of a job, as `mlq submit` printed it, or of a task.", metavar="ID")],  # noqa: A002 (its name in the help)
    *,
    wait: options.Wait = False,
    out: options.Out = None,
    timeout: options.Timeout = None,
) -> None:
    """Collect the answers of a job or a task.

    \b
    Examples:
      mlq result 3f2a9c41d0be -o out.jsonl
      mlq result 3f2a9c41d0be --wait --timeout 5m

    Without --wait the job must be finished. The answers of a job are removed from Redis as they are written, so they
    can be collected once only.
    """
    call = begin(ctx)
    if timeout is not None and not wait:
        raise UsageError(what="--timeout needs --wait", fix=f"`mlq result {id} --wait --timeout …`")
    with connected_jobs(call.settings) as at:
        out = output.target(out)
        if (kept := output.kept(out)) is not None:
            output.demand_new(kept, None, or_else=AnswersThere)
        found = record.read(at.store, at.results(), id)
        if found is None:
            _task(call, at, id, out, timeout, wait=wait)
            return
        if not wait:
            run.demand_finished(found)
        if not found.uncollected:
            raise JobCollected(id=id)
        _job(call, at, found, out, timeout)


def _job(call: Invocation, at: JobConnections, found: Progress, out: Path | None, timeout: float | None) -> None:
    kept = output.kept(out)
    rest = f" -o {shlex.quote(f'{kept}.rest')}" if kept is not None else ""
    run_options = RunOptions(limits=WaitLimits(timeout), command=f"mlq result {found.job.id} --wait{rest}")
    with (
        job_wait.opened(call, out) as stream,
        job_wait.watched(call, at, found.job) as watcher,
        handling_signals(interrupt := Interrupt()),
    ):
        outcome = run.collect(at, found, run_options, stream, watcher, interrupt, kept)
    job_wait.report(call, at, outcome, kept)


def _task(
    call: Invocation, at: JobConnections, task_id: str, out: Path | None, timeout: float | None, *, wait: bool
) -> None:
    results = at.results()
    if wait:
        with handling_signals(interrupt := Interrupt()):
            ended = single_task.wait(results, task_id, interrupt, timeout_s=timeout)
    elif (found := single_task.read(results, task_id)) is not None:
        ended = found
    else:
        from mlq.jobs import task_location

        raise task_location.explain(at, task_id)
    with job_wait.opened(call, out) as stream:
        sink = Output(stream, path=output.kept(out), command=shlex.join(["mlq", "result", "--", task_id]))
        sink.add(single_task.chunk_of_task(task_id), ended, single=True)
        sink.flush()
    if call.terminal.json:
        call.terminal.emit(job_wait.task_document(task_id, ok=sink.ok, failed=sink.failed))
    if sink.failed:
        raise RowsFailed(failed=1, rows=1, fix="its line says why")
