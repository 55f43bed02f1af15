"""mlq worker: start inference workers, list the live ones, end them or start them anew on any host."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated

import typer

from mlq.broker.connection import state_store
from mlq.cli import fleet, options, worker_orders
from mlq.cli import worker_logs as logfiles
from mlq.cli.invocation import Command, JsonCommand, begin, command, group
from mlq.store.workers import heartbeats
from mlq.store.workers.orders import Order
from mlq.supervisor.devices.plan import DeviceRequest, plan
from mlq.terminal import tables
from mlq.terminal.repetition import every

app = group(
    "ls",
    """Start inference workers, one per device; list the live ones; end them or start them anew.

    \b
    Examples:
      mlq worker                                       the live workers of every host
      mlq worker start --gpus 0,1 --model model.pt2    one worker per GPU, in the foreground
      mlq worker drain gpu0@node7                      let one finish, wherever it runs
      mlq worker restart --all --rolling               a new model file, one worker after the other
    """,
)


@command(app, cls=fleet.WorkerCommand)
def start(  # noqa: PLR0913, PLR0917 (an option each)
    ctx: typer.Context,
    gpus: options.Gpus = None,
    per_gpu: options.PerGpu = None,
    cpus: options.Cpus = None,
    pool: options.PoolKind = None,
    concurrency: options.Concurrency = None,
    name: options.Name = None,
    wait_broker: options.WaitBroker = None,
    *,
    rollout: options.Rollout = False,
    take_unknown: options.TakeUnknown = False,
    detach: Annotated[bool, typer.Option(fleet.DETACH, help="Return once the workers are ready.")] = False,
) -> None:
    """Start one solo Celery process per device, model loaded once, and keep it up until Ctrl-C.

    \b
    Examples:
      mlq worker start --gpus 0,1 --model model.pt2
      mlq worker start --cpus 2 --model serve.py:Model --queues realtime,default
      mlq worker start --gpus all --model model.pt2 --output classify
      mlq worker start --gpus all --model model.pt2 --detach
      mlq worker start --gpus auto --model model.pt2             every GPU that is free and healthy
      mlq worker start --gpus GPU-8932f937 --per-gpu 2 --model model.pt2
      mlq worker start --pool prefork --concurrency 2-8 --model model.pt2

    The first Ctrl-C (or SIGTERM) drains: running tasks finish. The second gives them back to their queue at once.
    With no broker configured and none running, an embedded one is started, and stopped at the end.
    """
    call = fleet.begin(ctx)
    if detach:
        fleet.detach(call)
        return
    devices = DeviceRequest(gpus, cpus, per_gpu, pool, concurrency)
    fleet.run(
        call,
        lambda slots: plan(call.settings, devices, slots, os.environ, prefix=name),
        wait_broker=wait_broker,
        rollout=rollout,
        take_unknown=take_unknown,
    )


@command(app, cls=JsonCommand)
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


@command(app, cls=JsonCommand)
def drain(
    ctx: typer.Context,
    names: worker_orders.Names = None,
    *,
    everyone: worker_orders.AllWorkers = False,
    host: worker_orders.Host = None,
    timeout: worker_orders.Patience = None,
) -> None:
    """Let workers finish what they run, take no more, and end; on any host.

    \b
    Examples:
      mlq worker drain gpu0
      mlq worker drain --all --host node7

    A supervisor whose last worker has ended ends, too.
    """
    order = Order("drain")
    worker_orders.carry_out(
        begin(ctx), worker_orders.WorkerSelector(names or (), everyone, host), order, rolling=False, patience=timeout
    )


@command(app, cls=JsonCommand)
def stop(
    ctx: typer.Context,
    names: worker_orders.Names = None,
    *,
    everyone: worker_orders.AllWorkers = False,
    host: worker_orders.Host = None,
    drain_timeout: worker_orders.Deadline = 30.0,
    timeout: worker_orders.Patience = None,
) -> None:
    """Drain workers, but give back to the queue what still runs after --drain-timeout (30 s); on any host.

    \b
    Examples:
      mlq worker stop gpu0 gpu1
      mlq worker stop --all --drain-timeout 0
    """
    order = Order("stop", drain_timeout)
    worker_orders.carry_out(
        begin(ctx), worker_orders.WorkerSelector(names or (), everyone, host), order, rolling=False, patience=timeout
    )


@command(app, cls=JsonCommand)
def restart(
    ctx: typer.Context,
    names: worker_orders.Names = None,
    *,
    everyone: worker_orders.AllWorkers = False,
    host: worker_orders.Host = None,
    rolling: Annotated[
        bool, typer.Option("--rolling", help="One after the other, each ready before the next.")
    ] = False,
    drain_timeout: worker_orders.Deadline = None,
    timeout: worker_orders.Patience = None,
) -> None:
    """Drain workers and start them anew, with the model file as it is now; on any host.

    \b
    Examples:
      mlq worker restart gpu0
      mlq worker restart --all --rolling

    Waits until they are ready. With --rolling a worker that fails to start ends it: the others keep serving.
    """
    order = Order("restart", drain_timeout)
    worker_orders.carry_out(
        begin(ctx), worker_orders.WorkerSelector(names or (), everyone, host), order, rolling=rolling, patience=timeout
    )


@command(app, cls=Command)
def logs(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="Workers; none: all of this host.", metavar="[NAME]...")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.", min=0)] = 20,
) -> None:
    """Show what workers wrote, of this host from their log files, of others their last 20 lines.

    \b
    Examples:
      mlq worker logs gpu0 -f
      mlq worker logs gpu0@node7
      mlq worker logs -n 1000 | grep WARNING

    The files lie in the state directory under logs/, 10 MiB and one older file each.
    """
    logfiles.show(begin(ctx), names or (), number=lines, follow=follow)
