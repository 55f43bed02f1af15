"""mlq autoscale: workers start and stop so that work waits no longer than the target."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperOption

from mlq.broker.connection import broker_address, demand_redis
from mlq.cli import fleet, options, policy_options, simulate
from mlq.cli.invocation import Invocation, command, group, option
from mlq.cli.order_record import recorded
from mlq.errors import QueueNotServed, UsageError
from mlq.settings.config import make_state_directory
from mlq.store.queues import queue_names
from mlq.supervisor import kept_workers, session
from mlq.supervisor.devices.plan import DeviceRequest, found, number, pool
from mlq.supervisor.news import BrokerAwaited, News, Stopping
from mlq.terminal.decisions import DecisionLog, at_length, document
from mlq.terminal.fleet_log import FleetLog
from mlq.terminal.live_line import LiveLine
from mlq.terminal.repetition import every

if TYPE_CHECKING:
    from mlq.autoscale.policy.policy import Deciding, Tuning
    from mlq.broker.connection import Address
    from mlq.supervisor.devices.slots import Slots
    from mlq.supervisor.kept_workers import Behind
    from mlq.supervisor.run import Fleet
    from mlq.supervisor.spec import WorkerSpec

app = group(
    "run",
    """Start and stop workers of a queue so that work waits no longer than the target.

    \b
    Examples:
      mlq autoscale --queue realtime --gpus all --model model.pt2
      mlq autoscale --queue realtime --cpus 4 --min 0 --model serve.py:Model --target-wait 1
      mlq autoscale --queue realtime --once --json          what it would do now, with every figure
      mlq autoscale simulate arrivals.csv --cold-start 40   what it would have done last Tuesday
    """,
)

Scaled = Annotated[
    str | None, typer.Option("--queue", help="Queue to scale for: the most urgent, if not said.", metavar="NAME")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Decide and tell, but start and stop nobody.")]
KeepWorkers = Annotated[
    bool, typer.Option("--keep-workers", help="Leave the workers running at the end, for the next one to take over.")
]
Once = Annotated[bool, typer.Option("--once", help="Decide once, tell, change nothing.")]


class Scaling(fleet.WorkerCommand):
    """A command that scales; takes what the policy takes."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add the policy's options before those of the workers."""
        yield from policy_options.policy_options()
        yield from super().extra_options()
        yield option("--json", text="A line of JSON for each decision.", is_flag=True)


@command(app, "run", cls=Scaling)
def run(  # noqa: PLR0913 (an option each)
    ctx: typer.Context,
    queue: Scaled = None,
    gpus: options.Gpus = None,
    cpus: options.Cpus = None,
    name: options.Name = None,
    wait_broker: options.WaitBroker = None,
    *,
    rollout: options.Rollout = False,
    keep_workers: KeepWorkers = False,
    dry_run: DryRun = False,
    once: Once = False,
) -> None:
    """Look at a queue every two seconds; start workers on free devices, drain idle ones, until Ctrl-C.

    \b
    Examples:
      mlq autoscale --queue realtime --gpus 0,1,2,3 --model model.pt2 --max 3
      mlq autoscale --queue batch --cpus 8 --min 0 --preset economy --model serve.py:Model
      mlq autoscale --queue realtime --cpus 4 --model serve.py:Model --dry-run
      mlq autoscale --queue realtime --gpus all --model model.pt2 --keep-workers

    Workers of `mlq worker start` and of other hosts count as capacity; only those that autoscalers started are
    stopped, and never while a task runs. Several hosts may run this for one queue: one of them decides, each starts
    workers on its own devices. At the end its own workers are drained; with --keep-workers they go on, and the next
    autoscaler of the queue may drain them.
    """
    call = fleet.begin(ctx)
    if call.settings.broker_url is not None:
        demand_redis(broker_address(call.settings), "an autoscaler")
    served = queue or call.settings.urgent_queue
    if served not in call.settings.served_queues:
        choices = call.settings.served_queues
        raise QueueNotServed(name=served, served=", ".join(choices), meant=queue_names.hint(served, choices))
    devices = _devices(gpus, cpus)
    chosen = policy_options.tuning(ctx, devices=number(devices, os.environ))
    policy = policy_options.policy(ctx, chosen)
    if once or dry_run:
        if rollout or keep_workers or wait_broker is not None:
            fix = "leave out --rollout, --keep-workers and --wait-broker"
            raise UsageError(what="--once and --dry-run start nobody, and wait for nothing", fix=fix)
        _watch(call, served, policy, chosen, once=once)
        return
    specs = [replace(spec, rollout=rollout) for spec in pool(call.settings, devices, os.environ, prefix=name)]
    behind = _split(call) if keep_workers else None
    _scale(call, served, policy, chosen, specs, behind, wait_s=wait_broker or 0.0)


command(app, "simulate", cls=simulate.Simulating)(simulate.simulate)


def _devices(gpus: str | None, cpus: int | None) -> DeviceRequest:
    """Take what was named, else what this machine offers."""
    return found(os.environ) if gpus is None and cpus is None else DeviceRequest(gpus, cpus)


def _watch(call: Invocation, queue: str, policy: Deciding, chosen: Tuning, *, once: bool) -> None:
    """Decide and tell, and touch nothing: no lead is taken, no place, no device."""
    from mlq.autoscale.live.signals import Signals
    from mlq.broker.connection import connected, explained, redis_client, state_store
    from mlq.store.workers.booking import Booking

    address = broker_address(call.settings)
    signals = Signals(queue, is_default=queue == call.settings.default_queue)
    with connected(call.settings, address) as connection, state_store(call.settings) as store, explained(address):
        for _ in every(None if once else chosen.tick_s):
            members = Booking.members(redis_client(connection), queue)
            decision = policy.decide(signals.read(connection, store, members))
            call.terminal.show_text(document(queue, decision), at_length(decision))


def _split(call: Invocation) -> Behind:
    """Go on in a process that may outlive this command, which then says so."""
    log = make_state_directory(call.settings) / "supervisor.log"

    def say(workers: int, pid: int) -> None:
        number = f"{workers} worker{'s' if workers > 1 else ''}"
        call.terminal.say(f"{number} left running, supervisor {pid}, log {log}; `mlq worker stop --all` ends them")

    return kept_workers.split(log, say)


def _advised(call: Invocation, policy: Deciding, chosen: Tuning) -> Deciding:
    """Have somebody watch for bursts that no policy can meet, and say so, if anybody can hear."""
    from mlq.autoscale.live.bursts import Advised, BurstWatch

    def say(text: str) -> None:
        with suppress(OSError):
            call.terminal.say(text)

    return Advised(policy, BurstWatch(chosen), say)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _let_go(bottom: LiveLine, behind: Behind, workers: int) -> None:
    """Let the workers go on, and leave the terminal to the command that ends."""
    bottom.leave()
    behind.let_go(workers)


def _scale(
    call: Invocation,
    queue: str,
    policy: Deciding,
    chosen: Tuning,
    specs: list[WorkerSpec],
    behind: Behind | None,
    *,
    wait_s: float,
) -> None:
    """Run the loop beside a fleet that it fills, and exit with the fleet's code."""
    from mlq.autoscale.live.devices import DevicePool as Pool
    from mlq.autoscale.live.loop import LoopThread
    from mlq.autoscale.live.scaler import Scaler

    bottom = LiveLine(call.terminal)
    with bottom:
        tell, log = DecisionLog(call.terminal, queue, bottom), FleetLog(call.terminal)

        @contextmanager
        def beside(workers: Fleet, slots: Slots, broker: Address) -> Iterator[None]:
            devices = Pool(specs, slots, chosen.tick_s, socket.gethostname())
            scaler = Scaler(_advised(call, policy, chosen), devices, workers, tell, chosen.most)
            loop = LoopThread(call.settings, broker, queue, scaler, workers, chosen.tick_s)
            with recorded(call, "autoscale start", queue):
                loop.start()
            if behind is not None:
                behind.when_asked(lambda: loop.keep(partial(_let_go, bottom, behind)))
            try:
                yield
            finally:
                with recorded(call, "autoscale stop", queue):
                    loop.end()

        def hear(news: News) -> None:
            if isinstance(news, Stopping):  # nothing is decided any more
                bottom.leave()
            log(news)
            if isinstance(news, BrokerAwaited) and behind is not None:
                behind.when_asked(_interrupt)  # there is nobody to keep yet

        code = session.run(call.settings, lambda _: [], hear, wait_broker_s=wait_s, beside=beside)
    raise typer.Exit(code)
