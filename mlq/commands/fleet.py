"""What `worker start` and `up` share: run a fleet and show its news."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import typer

from mlq.broker.connection import Address
from mlq.commands import invocation
from mlq.commands.invocation import Invocation
from mlq.console.fleetlog import FleetLog
from mlq.fleet import session
from mlq.fleet.running import News
from mlq.fleet.slots import Slots
from mlq.fleet.spec import WorkerSpec


def begin(ctx: typer.Context, **served: Any) -> Invocation:
    """Read the settings, with what this call says of [worker] over them."""
    return invocation.begin(ctx, **{f"worker__{key}": value for key, value in served.items()})


def run(call: Invocation, plan: Callable[[Slots], list[WorkerSpec]]) -> None:
    """Run the planned workers in the foreground, and exit with the fleet's code."""

    def opened(broker: Address, specs: Sequence[WorkerSpec]) -> Callable[[News], None]:
        call.terminal.say(f"broker {broker.shown} (from {broker.origin})")
        return FleetLog(call.terminal, [s.name for s in specs])

    def planned(slots: Slots) -> list[WorkerSpec]:
        return [replace(spec, verbose=call.terminal.verbosity > 0) for spec in plan(slots)]

    raise typer.Exit(session.run(call.settings, planned, opened))
