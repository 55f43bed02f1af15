"""What `worker start` and `up` share: run a fleet and show its news, here or in the background."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import typer
from typer.core import TyperOption

from mlq.cli import invocation
from mlq.cli.invocation import Command, Invocation
from mlq.errors import StartedWithFailures
from mlq.settings.config import make_state_directory
from mlq.supervisor import session
from mlq.supervisor.detached import Announcer, Detached
from mlq.supervisor.devices.slots import Slots
from mlq.supervisor.news import News
from mlq.supervisor.spec import WorkerSpec
from mlq.terminal.fleet_log import FleetLog
from mlq.terminal.printable import printable

DETACH: Final = "--detach"


class Computing(Command):
    """A command that runs a model; takes, as options, what [worker] of the configuration says of it."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add them. A value is parsed with the settings, so that an error names the option."""
        yield setting("model", text="Model to serve: model.pt2, model.pt, serve.py:Class.", metavar="REF")
        yield setting("output", text="raw: the model's numbers; classify: class and confidence.", metavar="KIND")
        yield setting("max_batch_size", text="Rows in one forward, if the model names no limit.", metavar="N")
        yield setting("time_limit", text="End a task, or a forward, and its process after so long.", metavar="SECONDS")


class WorkerCommand(Computing):
    """A command that starts workers; takes the rest of [worker], too."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add it."""
        yield setting("max_wait", text="Let rows wait so long for others to fill a batch: 0.", metavar="SECONDS")
        yield from super().extra_options()
        yield setting("queues", text="Queues to serve, most urgent first.", metavar="A,B")
        yield setting("shares", "--share", text="Device time that a queue gets at least.", metavar="batch=0.1")
        yield setting("soft_time_limit", text="Raise SoftTimeLimitExceeded in it after so long.", metavar="SECONDS")
        yield setting("max_tasks", text="Replace a worker after so many tasks.", metavar="N")
        yield setting("max_memory", text="Replace a worker above so much resident memory.", metavar="4GiB")
        yield setting("drain_timeout", text="Give back what still runs so long after a drain began.", metavar="SECONDS")


def setting(key: str, flag: str | None = None, *, text: str, metavar: str) -> TyperOption:
    """Make the option that is worker.KEY of the configuration."""
    return invocation.option(
        f"worker__{key}", flag or "--" + key.replace("_", "-"), text=text, metavar=metavar, default=None
    )


def begin(ctx: typer.Context) -> Invocation:
    """Read the settings, with what this call says of [worker] over them."""
    return invocation.begin(ctx, **invocation.given(ctx, "worker__"))


def run(
    call: Invocation,
    plan: Callable[[Slots], list[WorkerSpec]],
    *,
    wait_broker: float | None,
    rollout: bool,
    take_unknown: bool,
) -> None:
    """Run the planned workers in this process, and exit with the fleet's code.

    Unless `take_unknown`, no worker starts where most waiting messages are of tasks that it does not know.
    """
    announce = Announcer.inherited()
    show = FleetLog(call.terminal, workers_too=announce is None)

    def planned(slots: Slots) -> list[WorkerSpec]:
        verbose, checks = call.terminal.verbosity > 0, not take_unknown
        return [replace(spec, verbose=verbose, rollout=rollout, checks_tasks=checks) for spec in plan(slots)]

    def tell(news: News) -> None:
        show(news)
        if announce is not None:
            announce(news)

    raise typer.Exit(session.run(call.settings, planned, tell, wait_broker_s=wait_broker or 0.0))


def detach(call: Invocation) -> None:
    """Run this very command in the background, and exit when its workers are ready, or with its code when it ended.

    Raises StartedWithFailures when some are ready and some were given up.
    """
    log = make_state_directory(call.settings) / "supervisor.log"
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
