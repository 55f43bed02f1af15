"""mlq job: submitted files, how far they are, and how to end one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated

import typer

from mlq.broker.server_time import server_time
from mlq.cli import job_wait
from mlq.cli.invocation import Command, Invocation, JsonCommand, begin, command, group
from mlq.cli.order_record import recorded
from mlq.jobs import record
from mlq.jobs.connections import JobConnections, desk
from mlq.jobs.errors import BrokenRecord
from mlq.jobs.record import Progress
from mlq.terminal import tables
from mlq.terminal.printable import printable

app = group(
    "ls",
    """Show submitted files and their progress; cancel one.

    \b
    Examples:
      mlq job                      every job of the last 30 days
      mlq job show 3f2a9c41d0be    one of them
      mlq job cancel 3f2a9c41d0be  run nothing more of it
    """,
)

Id = Annotated[str, typer.Argument(help="What `mlq submit` printed.", metavar="ID")]


@command(app, cls=JsonCommand)
def ls(ctx: typer.Context) -> None:
    """List the jobs of the last 30 days, the latest first.

    \b
    Examples:
      mlq job
      mlq job --json | jq '.jobs[] | select(.state == "running").job'
    """
    call = begin(ctx)
    with desk(call.settings) as at:
        now = server_time(at.store)
        found = list(_readable(call, at))
    jobs = [job_wait.progress_document(seen) for seen in found]
    call.terminal.show({"schema": "mlq.jobs/1", "jobs": jobs}, partial(tables.jobs_table, jobs, now))


def _readable(call: Invocation, at: JobConnections) -> Iterator[Progress]:
    """Read the recent jobs. A record that cannot be read is reported, and hides no other job."""
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
    """Show how far a job is.

    \b
    Examples:
      mlq job show 3f2a9c41d0be
      mlq job show 3f2a9c41d0be --json | jq .done
    """
    call = begin(ctx)
    with desk(call.settings) as at:
        job, now = job_wait.progress_document(job_wait.find(at, id)), server_time(at.store)
    call.terminal.show(job, partial(tables.jobs_table, [job], now))


@command(app, cls=Command)
def cancel(ctx: typer.Context, id: Id) -> None:  # noqa: A002 (its name in the help)
    """Run nothing more of a job: workers drop its rows, its submitter stops. What is answered stays readable.

    \b
    Examples:
      mlq job cancel 3f2a9c41d0be

    `mlq submit FILE --wait -o OUT --resume` goes on with it.
    """
    call = begin(ctx)
    with desk(call.settings) as at:
        found = job_wait.find(at, id)
        if found.state == "done":
            call.terminal.line(f"job {id} is done: there is nothing to cancel")
            return
        with recorded(call, "job cancel", id, at.store) as order:
            record.cancel(at.store, id)
            order.detail = f"{found.done} of {found.rows} rows were done"
    call.terminal.line(f"job {id} is cancelled: {found.done} of {found.rows} rows were done")
