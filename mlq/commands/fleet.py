"""What `worker start` and `up` share: run a fleet and show its news, here or in the background."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import typer

from mlq.commands import invocation
from mlq.commands.invocation import Invocation
from mlq.config import state_directory
from mlq.console.fleetlog import FleetLog
from mlq.console.printable import printable
from mlq.errors import StartedWithFailures
from mlq.fleet import session
from mlq.fleet.detaching import Announcer, Detached
from mlq.fleet.news import News
from mlq.fleet.slots import Slots
from mlq.fleet.spec import WorkerSpec

DETACH: Final = "--detach"


def begin(ctx: typer.Context, **served: Any) -> Invocation:
    """Read the settings, with what this call says of [worker] over them."""
    return invocation.begin(ctx, **{f"worker__{key}": value for key, value in served.items()})


def run(call: Invocation, plan: Callable[[Slots], list[WorkerSpec]], *, wait_broker: float | None) -> None:
    """Run the planned workers in this process, and exit with the fleet's code."""
    announce = Announcer.inherited()
    show = FleetLog(call.terminal, workers_too=announce is None)

    def planned(slots: Slots) -> list[WorkerSpec]:
        return [replace(spec, verbose=call.terminal.verbosity > 0) for spec in plan(slots)]

    def tell(news: News) -> None:
        show(news)
        if announce is not None:
            announce(news)

    raise typer.Exit(session.run(call.settings, planned, tell, wait_broker_s=wait_broker or 0.0))


def detach(call: Invocation) -> None:
    """Run this very command in the background, and exit when its workers are ready, or with its code when it ended.

    Raises StartedWithFailures when some are ready and some were given up.
    """
    log = state_directory(call.settings) / "supervisor.log"
    supervisor = Detached([word for word in sys.argv[1:] if word != DETACH], os.environ, log)
    try:
        for line in supervisor.talk():
            call.terminal.say(printable(line, limit=4000))
    except KeyboardInterrupt:
        supervisor.stop()
        raise
    code = supervisor.ended()
    if code is not None:
        raise typer.Exit(code)
    call.terminal.say(f"supervisor {supervisor.pid} runs in the background; `mlq worker stop --all` ends it")
    if supervisor.failed:
        failed, first = supervisor.failed, supervisor.failed[0]
        raise StartedWithFailures(failed=len(failed), workers=supervisor.workers, slots=", ".join(failed), first=first)
