"""The command `mlq worker`: start workers here; list, drain, stop and restart workers on any host; show their logs."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated

import typer

from mlq.broker.connection import state_store
from mlq.cli import fleet, options, worker_logs, worker_orders
from mlq.cli.invocation import Command, JsonCommand, begin, command, group
from mlq.store.workers import heartbeats
from mlq.store.workers.orders import Order
from mlq.supervisor.devices.plan import DeviceRequest, plan
from mlq.terminal import tables
from mlq.terminal.repetition import every

app = group(
    "ls",
    """Start, list, drain, stop and restart workers; show their logs.

    \b
    Examples:
      mlq worker                                       list the workers of all hosts
      mlq worker start --gpus 0,1 --model model.pt2    start one worker per GPU
      mlq worker drain gpu0@node7                      let a worker finish and end
      mlq worker restart --all --rolling               load a new model file
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
    detach: Annotated[
        bool, typer.Option(fleet.DETACH, help="Run in the background; return when the workers are ready.")
    ] = False,
) -> None:
    """Start one worker per device; restart workers that die.

    \b
    Examples:
      mlq worker start --gpus 0,1 --model model.pt2
      mlq worker start --cpus 2 --model serve.py:Model --queues realtime,default
      mlq worker start --gpus all --model model.pt2 --output classify
      mlq worker start --gpus all --model model.pt2 --detach
      mlq worker start --gpus auto --model model.pt2    on free and healthy GPUs
      mlq worker start --gpus GPU-8932f937 --per-gpu 2 --model model.pt2
      mlq worker start --pool prefork --concurrency 2-8 --model model.pt2

    A worker is a solo Celery process that loads the model once. The command runs until Ctrl-C (or SIGTERM), which
    drains the workers: running tasks finish. The second Ctrl-C gives running tasks back to their queues at once. If no
    broker is configured or running, an embedded one is started, and stopped at the end.
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
    """List the workers of all hosts, their state and what they run.

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
    every_worker: worker_orders.AllWorkers = False,
    host: worker_orders.Host = None,
    timeout: worker_orders.Timeout = None,
) -> None:
    """Let workers finish their tasks and end; works on any host.

    \b
    Examples:
      mlq worker drain gpu0
      mlq worker drain --all --host node7

    A draining worker takes no more messages. A supervisor ends when its last worker has ended.
    """
    selector = worker_orders.WorkerSelector(names or (), every_worker, host)
    worker_orders.carry_out(begin(ctx), selector, Order("drain"), rolling=False, timeout=timeout)


@command(app, cls=JsonCommand)
def stop(
    ctx: typer.Context,
    names: worker_orders.Names = None,
    *,
    every_worker: worker_orders.AllWorkers = False,
    host: worker_orders.Host = None,
    drain_timeout: worker_orders.StopDrainTimeout = worker_orders.STOP_DRAIN_TIMEOUT_S,
    timeout: worker_orders.Timeout = None,
) -> None:
    """Drain workers for up to 30 s, then end them; works on any host.

    \b
    Examples:
      mlq worker stop gpu0 gpu1
      mlq worker stop --all --drain-timeout 0

    Tasks that still run after --drain-timeout go back to their queues.
    """
    selector = worker_orders.WorkerSelector(names or (), every_worker, host)
    worker_orders.carry_out(begin(ctx), selector, Order("stop", drain_timeout), rolling=False, timeout=timeout)


@command(app, cls=JsonCommand)
def restart(
    ctx: typer.Context,
    names: worker_orders.Names = None,
    *,
    every_worker: worker_orders.AllWorkers = False,
    host: worker_orders.Host = None,
    rolling: Annotated[
        bool, typer.Option("--rolling", help="Restart one worker after another, each when the one before is ready.")
    ] = False,
    drain_timeout: worker_orders.DrainTimeout = None,
    timeout: worker_orders.Timeout = None,
) -> None:
    """Drain workers and start them again; works on any host.

    \b
    Examples:
      mlq worker restart gpu0
      mlq worker restart --all --rolling

    The new workers load the model file as it is now. The command waits until they are ready. With --rolling it stops
    at the first worker that fails to start, and the others keep serving.
    """
    selector = worker_orders.WorkerSelector(names or (), every_worker, host)
    worker_orders.carry_out(begin(ctx), selector, Order("restart", drain_timeout), rolling=rolling, timeout=timeout)


@command(app, cls=Command)
def logs(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names of workers (default: all workers of this host).", metavar="[NAME]..."),
    ] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines as they are written, until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int,
        typer.Option(
            "--lines",
            "-n",
            help="Number of lines to print, counted from the end (default 20).",
            metavar="N",
            min=0,
            show_default=False,
        ),
    ] = 20,
) -> None:
    """Show the last lines of the logs of workers.

    \b
    Examples:
      mlq worker logs gpu0 -f
      mlq worker logs gpu0@node7
      mlq worker logs -n 1000 | grep WARNING

    For workers of this host the lines come from the log files: logs/ in the state directory has for each worker a file
    of up to 10 MiB and the file before it. For workers of other hosts the last 20 lines are available.
    """
    worker_logs.show(begin(ctx), names or (), number=lines, follow=follow)
