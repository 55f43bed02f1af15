"""The command `mlq autoscale simulate`: replay a trace of arrivals through a policy or a fixed number of workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from mlq.autoscale.policy.policy import Deciding, Policy, Tuning
from mlq.cli import options
from mlq.cli.framework import TyperOption
from mlq.cli.invocation import JsonCommand, begin, given
from mlq.cli.policy_options import THRESHOLD, policy_options, refuse, threshold, tuning
from mlq.errors import UsageError
from mlq.settings.parsers import duration
from mlq.terminal.decisions import replay_document, replay_text

Trace = Annotated[
    Path, typer.Argument(help="CSV file of arrival times, and of service times if known.", metavar="TRACE.csv")
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", help="File for a plot of arrivals, workers and waits over time.", metavar="FILE.png"),
]
ColdStart = Annotated[
    float,
    options.duration_option(
        "--cold-start", "Seconds from the start of a worker until it is ready", default="default 30", least_s=0.001
    ),
]
ServiceTime = Annotated[
    float,
    options.duration_option(
        "--service-time", "Seconds that a task runs for which the trace has no service time", default="default 0.5"
    ),
]
BatchTime = Annotated[
    str | None,
    typer.Option(
        "--batch-time",
        help="Time of a forward pass, A + B·n for n rows, in seconds or as 20ms,1ms (default: each row runs alone).",
        metavar="A,B",
    ),
]
Rule = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help="Policy to replay: mlq (the default), threshold (one more worker while more than --threshold tasks wait,"
        f" default {THRESHOLD}) or static:N (a fixed number of workers).",
        metavar="NAME",
    ),
]


class Simulating(JsonCommand):
    """A command that replays a trace; takes the options of the policy."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add the options of the policy."""
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
    """Replay a trace of arrivals; show what it would have cost.

    \b
    Examples:
      mlq autoscale simulate arrivals.csv
      mlq autoscale simulate arrivals.csv --policy static:4 --json
      mlq autoscale simulate arrivals.csv --policy threshold --threshold 50
      mlq autoscale simulate arrivals.csv --cold-start 90 --max 16 --plot day.png
      mlq autoscale simulate rows.csv --batch-time 0.02,0.001

    Prints how long tasks would have waited, how many worker-hours the policy would have used, and how often it would
    have started and stopped workers.
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
        unscored_s=0.0,  # count the waits from the beginning of the trace, before the policy has any history
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
    """Make the policy that --policy names, and its tuning.

    Raises UsageError if the policy is unknown or another option contradicts it.
    """
    asked, chosen = given(ctx, ""), tuning(ctx)
    if name == "threshold" or (name is None and "threshold" in asked):
        refuse(asked, ("preset",), "the threshold policy counts waiting tasks", fix="use `--policy mlq`")
        return threshold(asked, chosen), chosen
    if name is None or name == "mlq":
        refuse(asked, ("threshold",), "--policy mlq compares rates", fix="use `--policy threshold`")
        return Policy(chosen), chosen
    if not name.startswith("static:"):
        raise UsageError(what=f"there is no policy {name!r}", fix="use `--policy mlq`, threshold, or static:N")
    ignored = ("threshold", "min", "max", "preset", "zero_after")
    refuse(asked, ignored, f"--policy {name} is a fixed number of workers", fix="use `--policy mlq` or threshold")
    fixed = _worker_count("--policy", name.removeprefix("static:"))
    chosen = Tuning(target_s=chosen.target_s, least=fixed, most=fixed, tick_s=chosen.tick_s)
    return Policy(chosen), chosen


def _worker_count(flag: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(what=f"{flag}: {text!r} is not a number of workers", fix="such as `--policy static:4`")
    return int(text)


def _batch(text: str | None) -> tuple[float, float, int] | None:
    """Read --batch-time as (A, B, rows in a batch at most). Raises UsageError."""
    if text is None:
        return None
    try:
        base, slope = (duration(part) for part in text.split(","))
    except ValueError:
        raise UsageError(what=f"--batch-time {text!r} is not A,B", fix="such as `--batch-time 0.02,0.001`") from None
    if base + slope == 0:
        raise UsageError(what=f"--batch-time {text!r}: A and B are both 0", fix="such as `--batch-time 0.02,0.001`")
    return base, slope, 64
