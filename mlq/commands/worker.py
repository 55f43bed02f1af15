"""mlq worker: start inference workers, list the live ones."""

from __future__ import annotations

import os
from functools import partial

import typer

from mlq.broker import heartbeats
from mlq.broker.connection import state_store
from mlq.commands import fleet, options
from mlq.commands.invocation import Answering, Command, begin, command, group
from mlq.console import tables
from mlq.console.repeating import every
from mlq.fleet.planning import Devices, plan

app = group(
    "ls",
    """Start inference workers, one per device; list the live ones.

    \b
    Examples:
      mlq worker                                       the live workers of every host
      mlq worker start --gpus 0,1 --model model.pt2    one worker per GPU, in the foreground
    """,
)


@command(app, cls=Command)
def start(  # noqa: PLR0913, PLR0917 (an option each)
    ctx: typer.Context,
    gpus: options.Gpus = None,
    cpus: options.Cpus = None,
    model: options.Model = None,
    output: options.Output = None,
    queues: options.Queues = None,
    share: options.Share = None,
    max_batch_size: options.MaxBatchSize = None,
    name: options.Name = None,
) -> None:
    """Start one solo Celery process per device, model loaded once, and keep it up until Ctrl-C.

    \b
    Examples:
      mlq worker start --gpus 0,1 --model model.pt2
      mlq worker start --cpus 2 --model serve.py:Model --queues realtime,default
      mlq worker start --gpus all --model model.pt2 --output classify

    The first Ctrl-C (or SIGTERM) drains: running tasks finish. The second gives them back to their queue at once.
    With no broker configured and none running, an embedded one is started, and stopped at the end.
    """
    call = fleet.begin(ctx, model=model, output=output, queues=queues, shares=share, max_batch_size=max_batch_size)
    fleet.run(
        call,
        lambda slots: plan(call.settings, Devices(gpus, cpus), slots, os.environ, prefix=name),
    )


@command(app, cls=Answering)
def ls(ctx: typer.Context, watch: options.Watch = None) -> None:
    """Show the live workers of every host, busy ones too.

    \b
    Examples:
      mlq worker
      mlq worker ls --watch 2
      mlq worker --json | jq -r '.workers[] | select(.state == "busy") | .task'
    """
    call = begin(ctx)
    with state_store(call.settings) as store, call.terminal.live() as show:
        for _ in every(watch):
            found = heartbeats.read(store)
            show(tables.workers_document(found), partial(tables.workers_table, found))
