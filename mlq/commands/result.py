"""mlq result: the answers of a job, or of a single task."""

from __future__ import annotations

from typing import Annotated

import typer

from mlq.commands import options, waiting
from mlq.commands.invocation import Answering, begin, command, single
from mlq.jobs import job as jobs
from mlq.jobs import watching
from mlq.jobs.collection import demand_results
from mlq.jobs.connecting import desk

app = single()


@command(app, cls=Answering)
def result(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(help="What `mlq submit` printed, or the id of any task.")],  # noqa: A002 (its name in the help)
    *,
    wait: options.Wait = False,
    out: options.Out = None,
    timeout: options.Timeout = None,
) -> None:
    """Write the answers of a finished job, or of a task; with --wait, of one that is not finished yet.

    \b
    Examples:
      mlq result 3f2a9c41d0be -o out.jsonl
      mlq result 3f2a9c41d0be --wait --timeout 60
    """
    call = begin(ctx)
    with desk(call.settings) as at:
        demand_results(at.app, call.settings)
        job = jobs.find(at.store, id) or jobs.of_task(id)
        if not wait:
            watching.demand_finished(at, job)
        with waiting.opened(out) as stream:
            finished = waiting.collect(call, at, job, stream, timeout)
    waiting.report(call, job, finished, out)
