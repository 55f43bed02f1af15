"""The part that `worker start`, `up` and `autoscale` share: run a fleet in the foreground or in the background."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import typer

from mlq.cli import invocation
from mlq.cli.framework import TyperOption
from mlq.cli.invocation import Command, Invocation
from mlq.cli.setting_help import describe
from mlq.errors import StartedWithFailures
from mlq.settings.config import make_state_directory
from mlq.supervisor import session
from mlq.supervisor.background import Announcer, Detached
from mlq.supervisor.devices.slots import Slots
from mlq.supervisor.news import News
from mlq.supervisor.spec import WorkerSpec
from mlq.terminal.fleet_log import FleetLog
from mlq.terminal.printable import printable

DETACH: Final = "--detach"


class Computing(Command):
    """A command that runs a model. Its options set the keys of [worker] that describe the model."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add these options. Their values are parsed with the settings, so that an error names the option."""
        yield setting("model", metavar="REF")
        yield setting("output", metavar="KIND")
        yield setting("max_batch_size", metavar="N")
        yield setting("time_limit", metavar="SECONDS")


class WorkerCommand(Computing):
    """A command that starts workers. Its options also set the keys of [worker] that describe the worker."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add these options to those of the model."""
        yield from super().extra_options()
        yield setting("max_wait", metavar="SECONDS")
        yield setting("queues", metavar="A,B")
        yield setting("shares", "--share", metavar="batch=0.1")
        yield setting("soft_time_limit", metavar="SECONDS")
        yield setting("max_tasks", metavar="N")
        yield setting("max_memory", metavar="4GiB")
        yield setting("drain_timeout", metavar="SECONDS")


def setting(key: str, flag: str | None = None, *, metavar: str) -> TyperOption:
    """Make the option that sets the key worker.KEY."""
    name, flag = f"worker__{key}", flag or "--" + key.replace("_", "-")
    return invocation.option(name, flag, text=describe(f"worker.{key}"), metavar=metavar, default=None)


def begin(ctx: typer.Context) -> Invocation:
    """Read the settings; the options of this call override the keys of [worker]."""
    return invocation.begin(ctx, **invocation.given(ctx, "worker__"))


def run(
    call: Invocation,
    plan: Callable[[Slots], list[WorkerSpec]],
    *,
    wait_broker: float | None,
    rollout: bool,
    take_unknown: bool,
) -> None:
    """Run a supervisor with the planned workers in this process, and exit with its code.

    Args:
        call: This call of mlq.
        plan: Plans the workers, given the slots of this machine.
        wait_broker: Seconds to keep trying to connect to the broker at startup.
        rollout: Start workers even if others serve the same queues with another model.
        take_unknown: Start workers even if most waiting messages are of tasks that the workers do not know.
    """
    announce = Announcer.inherited()
    show = FleetLog(call.terminal, workers_too=announce is None)

    def planned(slots: Slots) -> list[WorkerSpec]:
        verbose, checks = call.terminal.verbosity > 0, not take_unknown
        return [replace(spec, verbose=verbose, rollout=rollout, checks_tasks=checks) for spec in plan(slots)]

    def report(news: News) -> None:
        show(news)
        if announce is not None:
            announce(news)

    raise typer.Exit(session.run(call.settings, planned, report, wait_broker_s=wait_broker or 0.0))


def detach(call: Invocation) -> None:
    """Run this command in the background, and return when its workers are ready; exit with its code if it ends first.

    Raises StartedWithFailures if some workers are ready and others failed to start.
    """
    log = make_state_directory(call.settings) / "supervisor.log"
    supervisor = Detached([word for word in call.argv if word != DETACH], os.environ, log)
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
