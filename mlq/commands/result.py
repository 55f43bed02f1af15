"""The command `mlq result`: collect the answers of a job, or the result of a single task."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from mlq.cli import job_wait, options
from mlq.cli.invocation import Invocation, JsonCommand, begin, command, single
from mlq.errors import UsageError
from mlq.jobs import record, run
from mlq.jobs.collect import output, single_task
from mlq.jobs.collect.output import Output
from mlq.jobs.connections import JobConnections, desk
from mlq.jobs.errors import AnswersThere, JobCollected, RowsFailed
from mlq.jobs.exchange import WaitLimits
from mlq.jobs.interrupt import Halt, heeding
from mlq.jobs.record import Progress
from mlq.jobs.run import RunOptions

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
    with desk(call.settings) as at:
        out = output.target(out)
        if (kept := output.kept(out)) is not None:
            output.demand_new(kept, None, or_else=AnswersThere)
        found = record.read(at.store, at.results, id)
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
    manner = RunOptions(limits=WaitLimits(timeout), command=f"mlq result {found.job.id} --wait{rest}")
    with (
        job_wait.opened(call, out) as stream,
        job_wait.watched(call, at, found.job) as watcher,
        heeding(halt := Halt()),
    ):
        outcome = run.collect(at, found, manner, stream, watcher, halt, kept)
    job_wait.report(call, at, outcome, kept)


def _task(
    call: Invocation, at: JobConnections, task_id: str, out: Path | None, timeout: float | None, *, wait: bool
) -> None:
    if wait:
        with heeding(halt := Halt()):
            written = single_task.wait(at.results, task_id, halt, timeout_s=timeout)
    elif (found := single_task.find(at.results, task_id)) is not None:
        written = found
    else:
        from mlq.jobs import task_location

        raise task_location.explain(at, task_id)
    with job_wait.opened(call, out) as stream:
        sink = Output(stream, path=output.kept(out), command=shlex.join(["mlq", "result", "--", task_id]))
        sink.add(written)
        sink.flush()
    if call.terminal.json:
        call.terminal.emit(job_wait.task_document(task_id, ok=sink.ok, failed=sink.failed))
    if sink.failed:
        raise RowsFailed(failed=1, rows=1, fix="its line says why")
