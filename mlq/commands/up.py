"""mlq up: an embedded broker and a worker for each device of this machine."""

from __future__ import annotations

import os

import typer

from mlq.cli import fleet, options
from mlq.cli.invocation import command, single
from mlq.supervisor.devices.plan import found, plan

app = single()


@command(app, cls=fleet.WorkerCommand)
def up(
    ctx: typer.Context,
    wait_broker: options.WaitBroker = None,
    *,
    rollout: options.Rollout = False,
    take_unknown: options.TakeUnknown = False,
) -> None:
    """Run a broker, if none is configured, and a worker for each GPU found (else one on the CPU).

    \b
    Examples:
      mlq up --model model.pt2
      mlq up --model serve.py:Model --output classify

    Stays in the foreground. The first Ctrl-C drains, the second gives running tasks back at once.
    """
    call = fleet.begin(ctx)
    fleet.run(
        call,
        lambda slots: plan(call.settings, found(os.environ), slots, os.environ),
        wait_broker=wait_broker,
        rollout=rollout,
        take_unknown=take_unknown,
    )
