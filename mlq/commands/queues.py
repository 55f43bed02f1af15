"""mlq queues: what waits, what runs, how old it is."""

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
    """Show what waits, what runs, how old it is; pause, resume or empty a queue.

    \b
    Examples:
      mlq queues                       every known queue
      mlq queues realtime --watch 1    one of them, every second
      mlq queues purge batch           drop what waits there
    """,
)

Name = Annotated[str, typer.Argument(help="The queue.", metavar="NAME")]
Names = Annotated[list[str] | None, typer.Argument(help="Only these queues.", metavar="[NAME]...")]


@command(app, cls=JsonCommand)
def ls(
    ctx: typer.Context,
    names: Names = None,
    watch: options.Watch = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Look at the keys of the broker for queues that are not known, too.")
    ] = False,
) -> None:
    """Show the queues that the configuration, a worker or an earlier submit knows, or only NAMES.

    \b
    Examples:
      mlq queues
      mlq queues realtime --watch 1
      mlq queues --all                           other clients' queues, too
      mlq queues --json | jq '.queues[].ready'
    """
    call = begin(ctx)
    if everything and names:
        raise UsageError(what="--all shows every queue, and NAMES only some", fix="leave one of them out")
    also = _found(call) if everything else ()
    with overview.queues(call.settings, names or (), also) as read, call.terminal.live() as show:
        for _ in every(watch):
            seen = read()
            show(tables.queues_document(*seen), partial(tables.queues_table, *seen))


def _found(call: Invocation) -> Sequence[str]:
    """Find the queues at the broker; say so where its keys are too many to look at all of them."""
    found = overview.scan(call.settings)
    if not found.complete:
        call.terminal.warn("the broker has too many keys to look at all of them: queues may be missing")
    return found.names


@command(app, cls=Command)
def pause(ctx: typer.Context, name: Name) -> None:
    """Let no worker take from a queue until it is resumed. What runs goes on; what is sent waits.

    \b
    Examples:
      mlq queues pause batch

    Workers of mlq's heed it; stock Celery workers on the same queue do not.
    """
    call = begin(ctx)
    with recorded(call, "queues pause", name):
        overview.pause(call.settings, name)
    call.terminal.line(f"{name} is paused; `mlq queues resume {name}` goes on")


@command(app, cls=Command)
def resume(ctx: typer.Context, name: Name) -> None:
    """Let workers take from a paused queue again.

    \b
    Examples:
      mlq queues resume batch
    """
    call = begin(ctx)
    with recorded(call, "queues resume", name) as record:
        was_paused = overview.resume(call.settings, name)
        record.detail = "" if was_paused else "it was not paused"
    call.terminal.line(f"{name} goes on" if was_paused else f"{name} was not paused")


@command(app, cls=Command)
def purge(
    ctx: typer.Context,
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Drop every message that waits in a queue. What runs already goes on; rows of a file that are dropped have failed.

    \b
    Examples:
      mlq queues purge batch
      mlq queues purge batch --yes
    """
    call = begin(ctx)
    if yes or agreed(call.terminal, f"drop everything that waits in {name}?"):
        from mlq.jobs.purge import purge as drop

        with recorded(call, "queues purge", name) as record:
            record.detail = f"{drop(call.settings, name)} dropped"
        call.terminal.line(f"{record.detail} from {name}")
        overview.forget(call.settings, name)
