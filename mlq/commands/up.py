"""The command `mlq up`: run an embedded broker and a worker for each device of this machine."""

from __future__ import annotations

import os

import typer

from mlq.cli import fleet, options
from mlq.cli.invocation import command, single
from mlq.supervisor.devices.plan import default_request, plan

app = single()


@command(app, cls=fleet.WorkerCommand)
def up(
    ctx: typer.Context,
    wait_broker: options.WaitBroker = None,
    *,
    rollout: options.Rollout = False,
    take_unknown: options.TakeUnknown = False,
) -> None:
    """Run a broker and a worker for each device of this machine.

    \b
    Examples:
      mlq up --model model.pt2
      mlq up --model serve.py:Model --output classify

    Starts an embedded broker if none is configured, and one worker on each GPU, or one on the CPU if there is no GPU.
    Runs in the foreground. The first Ctrl-C drains the workers; the second gives running tasks back to their queues at
    once.
    """
    call = fleet.begin(ctx)
    fleet.run(
        call,
        lambda slots: plan(call.settings, default_request(os.environ), slots, os.environ),
        wait_broker=wait_broker,
        rollout=rollout,
        take_unknown=take_unknown,
    )
