"""The command `mlq queues`: show queues and their depth, and pause, resume or purge a queue."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from mlq.cli import options
from mlq.cli.invocation import Command, Invocation, JsonCommand, begin, command, group
from mlq.cli.order_record import recorded
from mlq.errors import UsageError
from mlq.store.queues import overview
from mlq.terminal import tables
from mlq.terminal.prompts import agreed
from mlq.terminal.repetition import every

app = group(
    "ls",
    """Show queues and their depth; pause, resume or purge a queue.

    \b
    Examples:
      mlq queues                       show every known queue
      mlq queues realtime --watch 1    show one, every second
      mlq queues purge batch           delete the messages that wait in a queue
    """,
)

Name = Annotated[str, typer.Argument(help="Name of the queue.", metavar="NAME")]
Names = Annotated[
    list[str] | None, typer.Argument(help="Names of queues (default: all known queues).", metavar="[NAME]...")
]


@command(app, cls=JsonCommand)
def ls(
    ctx: typer.Context,
    names: Names = None,
    watch: options.Watch = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also search the keys of the broker for queues of other clients.")
    ] = False,
) -> None:
    """Show the depth, the age and the workers of queues.

    \b
    Examples:
      mlq queues
      mlq queues realtime --watch 1
      mlq queues --all                           also queues of other clients
      mlq queues --json | jq '.queues[].ready'

    Without NAME it shows the queues that the configuration, a worker or an earlier `mlq submit` knows.
    """
    call = begin(ctx)
    if everything and names:
        raise UsageError(what="--all shows every queue, so it takes no NAME", fix="leave one of them out")
    also = _found(call) if everything else ()
    with overview.queues(call.settings, names or (), also) as read, call.terminal.live() as show:
        for _ in every(watch):
            seen = read()
            show(tables.queues_document(*seen), partial(tables.queues_table, *seen))


def _found(call: Invocation) -> Sequence[str]:
    """Search the broker's keys for queues; warn if it has too many keys to search all of them."""
    found = overview.scan(call.settings)
    if not found.complete:
        call.terminal.warn("the broker has too many keys to search all of them: queues may be missing")
    return found.names


@command(app, cls=Command)
def pause(ctx: typer.Context, name: Name) -> None:
    """Pause a queue, so that workers take no messages from it.

    \b
    Examples:
      mlq queues pause batch

    Running tasks finish, and new messages wait in the queue. Only mlq's workers obey the pause; stock Celery workers
    on the same queue do not.
    """
    call = begin(ctx)
    with recorded(call, "queues pause", name):
        overview.pause(call.settings, name)
    call.terminal.line(f"{name} is paused; `mlq queues resume {name}` resumes it")


@command(app, cls=Command)
def resume(ctx: typer.Context, name: Name) -> None:
    """Resume a paused queue.

    \b
    Examples:
      mlq queues resume batch
    """
    call = begin(ctx)
    with recorded(call, "queues resume", name) as record:
        was_paused = overview.resume(call.settings, name)
        record.detail = "" if was_paused else "it was not paused"
    call.terminal.line(f"{name} is resumed" if was_paused else f"{name} was not paused")


@command(app, cls=Command)
def purge(
    ctx: typer.Context,
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete every message that waits in a queue.

    \b
    Examples:
      mlq queues purge batch
      mlq queues purge batch --yes

    Running tasks finish. Deleted rows of a job count as failed.
    """
    call = begin(ctx)
    if yes or agreed(call.terminal, f"delete every message that waits in {name}?"):
        from mlq.jobs.purge import purge as drop

        with recorded(call, "queues purge", name) as record:
            record.detail = f"{drop(call.settings, name)} dropped"
        call.terminal.line(f"{record.detail} from {name}")
        overview.forget(call.settings, name)
