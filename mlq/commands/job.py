"""The command `mlq job`: list submitted files and their progress, and cancel a job."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated

import typer

from mlq.broker.server_time import server_time
from mlq.cli import job_wait
from mlq.cli.invocation import Command, Invocation, JsonCommand, begin, command, group
from mlq.cli.order_record import recorded
from mlq.jobs.connections import JobConnections, connected_jobs
from mlq.store.errors import BrokenRecord
from mlq.store.jobs import record
from mlq.store.jobs.record import Progress
from mlq.terminal import tables
from mlq.terminal.printable import printable

app = group(
    "ls",
    """List submitted files and their progress; cancel a job.

    \b
    Examples:
      mlq job                        list the jobs of the last 30 days
      mlq job show 3f2a9c41d0be      show one
      mlq job cancel 3f2a9c41d0be    cancel one
    """,
)

Id = Annotated[str, typer.Argument(help="Id of a job, as `mlq submit` printed it.", metavar="ID")]


@command(app, cls=JsonCommand)
def ls(ctx: typer.Context) -> None:
    """List the jobs of the last 30 days, the newest first.

    \b
    Examples:
      mlq job
      mlq job --json | jq '.jobs[] | select(.state == "running").job'
    """
    call = begin(ctx)
    with connected_jobs(call.settings) as at:
        now = server_time(at.store)
        found = list(_readable(call, at))
    jobs = [job_wait.progress_document(seen) for seen in found]
    call.terminal.show({"schema": "mlq.jobs/1", "jobs": jobs}, partial(tables.jobs_table, jobs, now))


def _readable(call: Invocation, at: JobConnections) -> Iterator[Progress]:
    """Yield the recent jobs. A job whose record cannot be read is skipped with a warning."""
    for job_id in record.recent(at.store):
        try:
            seen = record.read(at.store, at.answers or at.store, job_id)
        except BrokenRecord as exc:
            call.terminal.warn(printable(f"warning: {exc.message}", limit=500))
        else:
            if seen is not None:
                yield seen


@command(app, cls=JsonCommand)
def show(ctx: typer.Context, id: Id) -> None:  # noqa: A002 (its name in the help)
    """Show the progress of a job.

    \b
    Examples:
      mlq job show 3f2a9c41d0be
      mlq job show 3f2a9c41d0be --json | jq .done
    """
    call = begin(ctx)
    with connected_jobs(call.settings) as at:
        job, now = job_wait.progress_document(job_wait.find(at, id)), server_time(at.store)
    call.terminal.show(job, partial(tables.jobs_table, [job], now))


@command(app, cls=Command)
def cancel(ctx: typer.Context, id: Id) -> None:  # noqa: A002 (its name in the help)
    """Cancel a job; results that exist stay readable.

    \b
    Examples:
      mlq job cancel 3f2a9c41d0be

    Workers drop the rows that still wait, and the submitting command stops. To continue the job, run
    `mlq submit FILE --wait -o OUT --resume`.
    """
    call = begin(ctx)
    with connected_jobs(call.settings) as at:
        found = job_wait.find(at, id)
        if found.state == "done":
            call.terminal.line(f"job {id} is done, so it was not cancelled")
            return
        with recorded(call, "job cancel", id, at.store) as order:
            record.cancel(at.store, id)
            order.detail = f"{found.done} of {found.rows} rows were done"
    call.terminal.line(f"job {id} is cancelled: {found.done} of {found.rows} rows were done")
