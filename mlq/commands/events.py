"""The command `mlq events`: show the orders of operators and their outcomes."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Annotated

import typer

from mlq.broker.connection import explained, state_address, state_store
from mlq.broker.server_time import server_time
from mlq.cli.invocation import JsonCommand, begin, command, single
from mlq.errors import UsageError
from mlq.settings.parsers import moment
from mlq.store import event_log
from mlq.terminal import event_lines

app = single()

Orders = Annotated[
    bool, typer.Option("--orders", help="Show orders of operators only (at present there are no other events).")
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", help="Show events since this time only, such as 2h, 3d or 2026-11-20T12:00Z.", metavar="TIME"
    ),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Print new events as they happen, until Ctrl-C.")]


@command(app, cls=JsonCommand)
def events(ctx: typer.Context, *, orders: Orders = False, since: Since = None, follow: Follow = False) -> None:
    """Show the orders of operators and their outcomes, the oldest first.

    \b
    Examples:
      mlq events
      mlq events --orders --since 2h
      mlq events --follow               print new events
      mlq events --since 1d --json | jq -r 'select(.result == "failed")'

    Each line shows when, by which user and from which process the order was given. Recorded orders: stop, drain and
    restart of workers; pause, resume and purge of queues; retry and drop of dead letters; cancel of jobs; start and
    stop of autoscalers. The last 10,000 orders are kept. "no end recorded" means that the order is being carried out,
    or that its command was killed.
    """
    del orders  # for scripts: it keeps out other kinds of events that later versions may have
    call = begin(ctx)
    with state_store(call.settings) as store, explained(state_address(call.settings)):
        try:
            since_ms = None if since is None else int(1000 * moment(since, now=server_time(store)))
        except (ValueError, OverflowError) as exc:
            raise UsageError(what=f"--since {since!r}: {exc}", fix="such as `mlq events --since 2h`") from None
        if follow:
            with suppress(KeyboardInterrupt):  # the normal end of --follow
                for order in event_log.follow(store, since_ms):
                    call.terminal.show_text(event_lines.document(order), event_lines.line(order))
            return
        found = event_log.read(store, since_ms or 0)
    if call.terminal.json:
        for order in found:
            call.terminal.emit(event_lines.document(order))
    else:
        call.terminal.show({}, partial(event_lines.orders_table, found))
