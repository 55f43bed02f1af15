"""The command `mlq autoscale`: start and stop workers of a queue so that tasks wait no longer than a target."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mlq.broker.connection import broker_address, demand_redis
from mlq.cli import fleet, options, policy_options, simulate
from mlq.cli.framework import TyperOption
from mlq.cli.invocation import Invocation, command, group, option
from mlq.cli.order_record import recorded
from mlq.errors import QueueNotServed, UsageError
from mlq.settings.config import make_state_directory
from mlq.store.queues import queue_names
from mlq.supervisor import background, session
from mlq.supervisor.devices.plan import DeviceRequest, autoscaler_specs, count_devices, default_request
from mlq.supervisor.news import BrokerAwaited, News, Stopping
from mlq.terminal.decisions import DecisionLog, at_length, document
from mlq.terminal.fleet_log import FleetLog
from mlq.terminal.live_line import LiveLine
from mlq.terminal.repetition import every

if TYPE_CHECKING:
    from mlq.autoscale.policy.policy import Deciding, Tuning
    from mlq.broker.connection import Address
    from mlq.supervisor.background import BackgroundProcess
    from mlq.supervisor.devices.slots import Slots
    from mlq.supervisor.fleet_handle import FleetHandle
    from mlq.supervisor.spec import WorkerSpec

app = group(
    "run",
    """Start and stop workers of a queue so that tasks wait no longer than a target.

    \b
    Examples:
      mlq autoscale --queue realtime --gpus all --model model.pt2
      mlq autoscale --queue realtime --cpus 4 --min 0 --model serve.py:Model
      mlq autoscale --once                   what it would do now
      mlq autoscale simulate arrivals.csv    what it would have done last Tuesday
    """,
)

Scaled = Annotated[
    str | None,
    typer.Option("--queue", help="Queue to scale the workers of (default: the most urgent one).", metavar="NAME"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print decisions without starting or stopping workers.")]
KeepWorkers = Annotated[
    bool,
    typer.Option("--keep-workers", help="Leave the workers running at the end; the next autoscaler takes them over."),
]
Once = Annotated[
    bool, typer.Option("--once", help="Print one decision without starting or stopping workers, and exit.")
]


class Scaling(fleet.WorkerCommand):
    """The command that scales; takes the options of the policy and of workers."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add the options of the policy before those of workers."""
        yield from policy_options.policy_options()
        yield from super().extra_options()
        yield option("--json", text="Print each decision as a line of JSON.", is_flag=True)


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
    """Start workers on free devices and drain idle ones, until Ctrl-C.

    \b
    Examples:
      mlq autoscale --queue realtime --gpus 0,1,2,3 --model model.pt2 --max 3
      mlq autoscale --queue batch --cpus 8 --min 0 --preset economy --model m.pt2
      mlq autoscale --queue realtime --cpus 4 --model serve.py:Model --dry-run
      mlq autoscale --queue realtime --gpus all --model model.pt2 --keep-workers

    Workers of `mlq worker start` and of other hosts count as capacity. The autoscaler stops only workers that an
    autoscaler started, and never a worker that runs a task. Several hosts may run an autoscaler for one queue: one of
    them decides, and each starts workers on its own devices. At the end the autoscaler drains its own workers; with
    --keep-workers they keep running, and the next autoscaler of the queue may drain them.
    """
    call = fleet.begin(ctx)
    if call.settings.broker_url is not None:
        demand_redis(broker_address(call.settings), "an autoscaler")
    served = queue or call.settings.urgent_queue
    if served not in call.settings.served_queues:
        choices = call.settings.served_queues
        raise QueueNotServed(name=served, served=", ".join(choices), meant=queue_names.hint(served, choices))
    devices = _devices(gpus, cpus)
    chosen = policy_options.tuning(ctx, devices=count_devices(devices, os.environ))
    policy = policy_options.policy(ctx, chosen)
    if once or dry_run:
        if rollout or keep_workers or wait_broker is not None:
            fix = "leave out --rollout, --keep-workers and --wait-broker"
            raise UsageError(what="--once and --dry-run start no workers, and do not wait for a broker", fix=fix)
        _show_decisions(call, served, policy, chosen, once=once)
        return
    specs = [
        replace(spec, rollout=rollout) for spec in autoscaler_specs(call.settings, devices, os.environ, prefix=name)
    ]
    behind = _split(call) if keep_workers else None
    _scale(call, served, policy, chosen, specs, behind, wait_s=wait_broker or 0.0)


command(app, "simulate", cls=simulate.Simulating)(simulate.simulate)


def _devices(gpus: str | None, cpus: int | None) -> DeviceRequest:
    """Return the devices that the options name, or every device of this machine."""
    return default_request(os.environ) if gpus is None and cpus is None else DeviceRequest(gpus, cpus)


def _show_decisions(call: Invocation, queue: str, policy: Deciding, chosen: Tuning, *, once: bool) -> None:
    """Print decisions without becoming the queue's leading autoscaler, and without booking or using a device."""
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


def _split(call: Invocation) -> BackgroundProcess:
    """Continue in a child process that can keep running when this command ends, which then prints where it runs."""
    log = make_state_directory(call.settings) / "supervisor.log"

    def say(workers: int, pid: int) -> None:
        number = f"{workers} worker{'s' if workers > 1 else ''}"
        call.terminal.say(f"{number} left running, supervisor {pid}, log {log}; `mlq worker stop --all` ends them")

    return background.fork(log, say)


def _advised(call: Invocation, policy: Deciding, chosen: Tuning) -> Deciding:
    """Add a watch for bursts that are too short for any policy, which prints advice about them."""
    from mlq.autoscale.live.bursts import Advised, BurstWatch

    def say(text: str) -> None:
        with suppress(OSError):  # a closed stderr must not stop the autoscaler
            call.terminal.say(text)

    return Advised(policy, BurstWatch(chosen), say)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _let_go(bottom: LiveLine, behind: BackgroundProcess, workers: int) -> None:
    """Leave the workers running, and leave the terminal to the command that ends."""
    bottom.leave()
    behind.let_go(workers)


def _scale(
    call: Invocation,
    queue: str,
    policy: Deciding,
    chosen: Tuning,
    specs: list[WorkerSpec],
    behind: BackgroundProcess | None,
    *,
    wait_s: float,
) -> None:
    """Run a supervisor, and beside it the loop that starts and stops its workers; exit with the supervisor's code."""
    from mlq.autoscale.live.devices import DevicePool as Pool
    from mlq.autoscale.live.loop import LoopThread
    from mlq.autoscale.live.scaler import Scaler

    bottom = LiveLine(call.terminal)
    with bottom:
        tell, log = DecisionLog(call.terminal, queue, bottom), FleetLog(call.terminal)

        @contextmanager
        def beside(workers: FleetHandle, slots: Slots, broker: Address) -> Iterator[None]:
            devices = Pool(specs, slots, chosen.tick_s, socket.gethostname())
            scaler = Scaler(_advised(call, policy, chosen), devices, workers, tell, chosen.most)
            loop = LoopThread(call.settings, broker, queue, scaler, workers, chosen.tick_s)
            with recorded(call, "autoscale start", queue):
                loop.start()
            if behind is not None:
                behind.when_asked(lambda: loop.stop_deciding(partial(_let_go, bottom, behind)))
            try:
                yield
            finally:
                with recorded(call, "autoscale stop", queue):
                    loop.end(10 * chosen.tick_s)  # for the present turn

        def report(news: News) -> None:
            if isinstance(news, Stopping):  # there are no more decisions to show
                bottom.leave()
            log(news)
            if isinstance(news, BrokerAwaited) and behind is not None:
                behind.when_asked(_interrupt)  # there are no workers yet that could be kept

        code = session.run(call.settings, lambda _: [], report, wait_broker_s=wait_s, beside=beside)
    raise typer.Exit(code)
