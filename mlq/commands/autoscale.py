"""mlq autoscale: workers start and stop so that work waits no longer than the target."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperOption

from mlq.autoscale.policy import PRESETS, Deciding, Policy, Threshold, Tuning
from mlq.broker.connection import broker_address, demand_redis
from mlq.commands import fleet, options
from mlq.commands.invocation import Answering, Invocation, begin, command, given, group, option
from mlq.config import state_directory
from mlq.console.decisions import DecisionLog, document, line, replay_document, replay_text
from mlq.console.fleetlog import FleetLog
from mlq.console.repeating import every
from mlq.errors import NoSuchQueue, UsageError
from mlq.fleet import keeping, session
from mlq.fleet.planning import Devices, found, number, pool

if TYPE_CHECKING:
    from mlq.broker.connection import Address
    from mlq.fleet.keeping import Behind
    from mlq.fleet.running import Fleet
    from mlq.fleet.slots import Slots
    from mlq.fleet.spec import WorkerSpec

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

Trace = Annotated[Path, typer.Argument(help="CSV: arrival times, and service times if known.", metavar="TRACE.csv")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Draw arrivals, workers, waits.", metavar="FILE.png")]
ColdStart = Annotated[float, typer.Option("--cold-start", help="Seconds until a new worker takes work.", min=0.001)]
ServiceTime = Annotated[float, typer.Option("--service-time", help="Of tasks without one of their own (s).", min=0)]
BatchTime = Annotated[
    str | None, typer.Option("--batch-time", help="A forward of b rows takes A + B·b seconds.", metavar="A,B")
]
Scaled = Annotated[
    str | None, typer.Option("--queue", help="Queue to scale for: the most urgent, if not said.", metavar="NAME")
]
Rule = Annotated[str, typer.Option("--policy", help="mlq, or static:N.", metavar="NAME")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Decide and tell, but start and stop nobody.")]
KeepWorkers = Annotated[
    bool, typer.Option("--keep-workers", help="Leave the workers running at the end, for the next one to take over.")
]
Once = Annotated[bool, typer.Option("--once", help="Decide once, tell, change nothing.")]


class Scaling(fleet.Serving):
    """A command that scales; takes what the policy takes."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add the policy's options before those of the workers."""
        yield from policy_options()
        yield from super().extra_options()
        yield option("--json", text="A line of JSON for each decision.", is_flag=True)


class Simulating(Answering):
    """A command that replays."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add the policy's options."""
        yield from policy_options()
        yield from super().extra_options()


def policy_options() -> Iterator[TyperOption]:
    """Make the options that the loop and the simulator share; what is not given is Tuning's default."""
    seconds, count = {"metavar": "SECONDS", "type": float}, {"metavar": "N", "type": int}
    yield option("--target-wait", text="Seconds that work may wait: 2.", default=None, **seconds)
    yield option("--min", text="Workers that are always there: 1.", default=None, **count)
    yield option("--max", text="Workers at most: one for each device, 8 in a simulation.", default=None, **count)
    yield option("--preset", text="economy, balanced (the default) or latency.", metavar="NAME", default=None)
    yield option("--interval", text="Seconds between two looks: 2.", default=None, **seconds)
    text = "With --min 0 the last one goes when idle for so long, with --threshold each: 300."
    yield option("--zero-after", text=text, default=None, **seconds)
    yield option("--threshold", text="The plain rule instead: one more while more wait.", default=None, **count)


@command(app, "run", cls=Scaling)
def run(  # noqa: PLR0913 (an option each)
    ctx: typer.Context,
    queue: Scaled = None,
    gpus: options.Gpus = None,
    cpus: options.Cpus = None,
    name: options.Name = None,
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
        raise NoSuchQueue(name=served, url="the configuration", known=", ".join(call.settings.queues))
    devices = _devices(gpus, cpus)
    tuning = _tuning(ctx, devices=number(devices, os.environ))
    policy = _policy(ctx, tuning, ignored=("preset", "target_wait"))
    if once or dry_run:
        if rollout or keep_workers:
            raise UsageError(what="--once and --dry-run start nobody", mend="leave out --rollout and --keep-workers")
        _watch(call, served, policy, tuning, once=once)
        return
    specs = [replace(spec, rollout=rollout) for spec in pool(call.settings, devices, os.environ, prefix=name)]
    _scale(call, served, policy, tuning, specs, behind=_split(call) if keep_workers else None)


@command(app, cls=Simulating)
def simulate(
    ctx: typer.Context,
    trace: Trace,
    policy: Rule = "mlq",
    cold_start: ColdStart = 30.0,
    service_time: ServiceTime = 0.5,
    batch_time: BatchTime = None,
    plot: Plot = None,
) -> None:
    """Replay a trace of arrivals through the policy: what would it have cost, how long would work have waited.

    \b
    Examples:
      mlq autoscale simulate arrivals.csv
      mlq autoscale simulate arrivals.csv --policy static:4 --json
      mlq autoscale simulate arrivals.csv --cold-start 90 --max 16 --preset latency --plot day.png
      mlq autoscale simulate rows.csv --batch-time 0.02,0.001
    """
    from mlq.autoscale import advice
    from mlq.autoscale import trace as traces
    from mlq.autoscale.simulation import World, replay

    call = begin(ctx)
    tasks = traces.read(trace, service_time)
    tuning, first = _tuning(ctx, devices=8), None
    if policy.startswith("static:"):
        first = _number("--policy", policy.removeprefix("static:"))
        tuning = Tuning(target_s=tuning.target_s, least=first, most=first, tick_s=tuning.tick_s)
    elif policy != "mlq":
        what = f"--policy {policy!r} is neither mlq nor static:N"
        raise UsageError(what=what, mend="`--threshold N` is the plain rule")
    world = World(
        cold_start_s=cold_start,
        tick_s=tuning.tick_s,
        target_s=tuning.target_s,
        first=tuning.least if first is None else first,
        most=tuning.most,
        batch=_batch(batch_time),
    )
    rule = _policy(ctx, tuning, ignored=("preset",))
    outcome = replay(tasks, rule, world)
    call.terminal.show_text(replay_document(outcome), replay_text(outcome))
    suggestion = advice.more_at_least(tasks, outcome, tuning, world) if isinstance(rule, Policy) else None
    if suggestion is not None:
        call.terminal.say(suggestion)
    if plot is not None:
        from mlq.autoscale.plot import draw

        draw(tasks, outcome, plot)


def _devices(gpus: str | None, cpus: int | None) -> Devices:
    """Take what was named, else what this machine offers."""
    return found(os.environ) if gpus is None and cpus is None else Devices(gpus, cpus)


def _tuning(ctx: typer.Context, *, devices: int) -> Tuning:
    """Read the policy's options.

    Raises UsageError.
    """
    asked = given(ctx, "")
    preset = asked.get("preset", "balanced")
    if preset not in PRESETS:
        raise UsageError(what=f"no preset {preset!r}", mend="add `--preset` economy, balanced or latency")
    named = {"target_wait": "target_s", "min": "least", "max": "most", "interval": "tick_s", "zero_after": "zero_s"}
    chosen = {field: asked[name] for name, field in named.items() if name in asked}
    tuning = Tuning(**{"most": devices, **chosen, **PRESETS[preset]})
    tuning = replace(tuning, floor_s=min(tuning.floor_s, tuning.zero_s))  # who empties soon means all of them
    if not 0 <= tuning.least <= tuning.most or tuning.most < 1 or tuning.target_s <= 0 or tuning.tick_s <= 0:
        what = f"--min {tuning.least} and --max {tuning.most} leave nothing to choose, or a time is not positive"
        raise UsageError(what=what, mend="such as `--min 1 --max 4 --target-wait 2 --interval 2`")
    return tuning


def _policy(ctx: typer.Context, tuning: Tuning, *, ignored: Sequence[str]) -> Deciding:
    """Make the policy, or the plain rule, to which some options say nothing.

    Raises UsageError.
    """
    asked = given(ctx, "")
    threshold = asked.get("threshold")
    if threshold is None:
        return Policy(tuning)
    flags = ["--" + name.replace("_", "-") for name in ignored if name in asked]
    if flags:
        mend = "leave it out, or leave out --threshold"
        raise UsageError(what=f"--threshold is the plain rule, to which {flags[0]} says nothing", mend=mend)
    return Threshold(tuning, int(threshold))


def _number(flag: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise UsageError(what=f"{flag}: {text!r} is no number of workers", mend="such as `--policy static:4`")
    return int(text)


def _batch(text: str | None) -> tuple[float, float, int] | None:
    if text is None:
        return None
    try:
        base, slope = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(what=f"--batch-time {text!r} is not A,B", mend="such as `--batch-time 0.02,0.001`") from None
    return base, slope, 64


def _watch(call: Invocation, queue: str, policy: Deciding, tuning: Tuning, *, once: bool) -> None:
    """Decide and tell, and touch nothing: no lead is taken, no place, no device."""
    from mlq.autoscale.signals import Signals
    from mlq.broker.connection import broker_address, connected, explained, state_store

    address = broker_address(call.settings)
    signals = Signals(queue, is_default=queue == call.settings.default_queue)
    with connected(call.settings, address) as connection, state_store(call.settings) as store, explained(address):
        for _ in every(None if once else tuning.tick_s):
            decision = policy.decide(signals.read(connection, store, ()))
            call.terminal.show_text(document(queue, decision), line(decision))


def _split(call: Invocation) -> Behind:
    """Go on in a process that may outlive this command, which then says so."""
    log = state_directory(call.settings) / "supervisor.log"

    def say(workers: int, pid: int) -> None:
        number = f"{workers} worker{'s' if workers > 1 else ''}"
        call.terminal.say(f"{number} left running, supervisor {pid}, log {log}; `mlq worker stop --all` ends them")

    return keeping.split(log, say)


def _scale(
    call: Invocation, queue: str, policy: Deciding, tuning: Tuning, specs: list[WorkerSpec], behind: Behind | None
) -> None:
    """Run the loop beside a fleet that it fills, and exit with the fleet's code."""
    from mlq.autoscale.devices import Devices as Pool
    from mlq.autoscale.loop import LoopThread
    from mlq.autoscale.scaler import Scaler

    tell = DecisionLog(call.terminal, queue)

    @contextmanager
    def beside(workers: Fleet, slots: Slots, broker: Address) -> Iterator[None]:
        devices = Pool(specs, slots, tuning.tick_s, socket.gethostname())
        scaler = Scaler(policy, devices, workers, tell, tuning.most)
        loop = LoopThread(call.settings, broker, queue, scaler, workers, tuning.tick_s)
        loop.start()
        if behind is not None:
            behind.when_asked(lambda: loop.keep(behind.let_go))
        try:
            yield
        finally:
            loop.end()

    raise typer.Exit(session.run(call.settings, lambda _: [], FleetLog(call.terminal), beside=beside))
