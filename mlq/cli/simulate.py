"""mlq autoscale simulate: what the policy would have done with a trace, or another rule, or a fixed fleet."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperOption

from mlq.autoscale.policy.policy import Deciding, Policy, Tuning
from mlq.cli import options
from mlq.cli.invocation import JsonCommand, begin, given
from mlq.cli.policy_options import THRESHOLD, policy_options, refuse, threshold, tuning
from mlq.errors import UsageError
from mlq.terminal.decisions import replay_document, replay_text

Trace = Annotated[Path, typer.Argument(help="CSV: arrival times, and service times if known.", metavar="TRACE.csv")]
Plot = Annotated[
    Path | None, typer.Option("--plot", help="Draw arrivals, workers, waits over time.", metavar="FILE.png")
]
ColdStart = Annotated[
    float,
    typer.Option("--cold-start", help="Seconds until a new worker takes work.", min=0.001, callback=options.finite),
]
ServiceTime = Annotated[
    float,
    typer.Option("--service-time", help="Of tasks without one of their own (s).", min=0, callback=options.finite),
]
BatchTime = Annotated[
    str | None, typer.Option("--batch-time", help="A forward of b rows takes A + B·b seconds.", metavar="A,B")
]
Rule = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help=f"mlq (the default), threshold (the plain rule: --threshold N, else {THRESHOLD}), or static:N.",
        metavar="NAME",
    ),
]


class Simulating(JsonCommand):
    """A command that replays."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add the policy's options."""
        yield from policy_options()
        yield from super().extra_options()


def simulate(
    ctx: typer.Context,
    trace: Trace,
    policy: Rule = None,
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
      mlq autoscale simulate arrivals.csv --policy threshold --threshold 50
      mlq autoscale simulate arrivals.csv --cold-start 90 --max 16 --preset latency --plot day.png
      mlq autoscale simulate rows.csv --batch-time 0.02,0.001
    """
    from mlq.autoscale.replay import advice
    from mlq.autoscale.replay import trace as traces
    from mlq.autoscale.replay.simulation import World, replay

    call = begin(ctx)
    rule, chosen = _rule(ctx, policy)
    tasks = traces.read(trace, service_time)
    world = World(
        cold_start_s=cold_start,
        tick_s=chosen.tick_s,
        target_s=chosen.target_s,
        first=chosen.least,
        most=chosen.most,
        batch=_batch(batch_time),
        unscored_s=0.0,  # what this trace began with did wait, whoever knew what then
    )
    outcome = replay(tasks, rule, world)
    call.terminal.show_text(replay_document(outcome), replay_text(outcome))
    suggestion = advice.more_at_least(tasks, outcome, chosen, world) if isinstance(rule, Policy) else None
    if suggestion is not None:
        call.terminal.say(suggestion)
    if plot is not None:
        from mlq.autoscale.replay.plot import draw

        draw(tasks, outcome, plot)


def _rule(ctx: typer.Context, name: str | None) -> tuple[Deciding, Tuning]:
    """Make what is to be replayed, and the bounds that it keeps to.

    Raises UsageError where --policy is unknown or another option contradicts it.
    """
    asked, chosen = given(ctx, ""), tuning(ctx, devices=8)
    if name == "threshold" or (name is None and "threshold" in asked):
        refuse(asked, ("preset",), "the plain rule goes by what waits", fix="use `--policy mlq`")
        return threshold(asked, chosen), chosen
    if name is None or name == "mlq":
        refuse(asked, ("threshold",), "--policy mlq goes by rates", fix="use `--policy threshold`")
        return Policy(chosen), chosen
    if not name.startswith("static:"):
        raise UsageError(what=f"--policy {name!r} is none", fix="use `--policy mlq`, threshold, or static:N")
    ignored = ("threshold", "min", "max", "preset", "zero_after")
    refuse(asked, ignored, f"--policy {name} is a fixed fleet", fix="use `--policy mlq` or threshold")
    fixed = _number("--policy", name.removeprefix("static:"))
    chosen = Tuning(target_s=chosen.target_s, least=fixed, most=fixed, tick_s=chosen.tick_s)
    return Policy(chosen), chosen


def _number(flag: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(what=f"{flag}: {text!r} is no number of workers", fix="such as `--policy static:4`")
    return int(text)


def _batch(text: str | None) -> tuple[float, float, int] | None:
    if text is None:
        return None
    try:
        base, slope = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(what=f"--batch-time {text!r} is not A,B", fix="such as `--batch-time 0.02,0.001`") from None
    if not (math.isfinite(base + slope) and min(base, slope) >= 0 and base + slope > 0):
        what = f"--batch-time {text!r}: no forward takes that many seconds"
        raise UsageError(what=what, fix="such as `--batch-time 0.02,0.001`")
    return base, slope, 64
