"""The options of the autoscaler's policy, for `autoscale run` and `simulate`, and the policy that follows from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import typer

from mlq.autoscale.policy.policy import PRESETS, Deciding, Policy, Threshold, Tuning
from mlq.cli.framework import DurationType, TyperOption
from mlq.cli.invocation import given, option
from mlq.errors import UsageError
from mlq.settings.parsers import SPELLINGS, duration

THRESHOLD: Final = 50
"""Default of --threshold: waiting tasks above which the threshold policy starts one more worker."""

_SIMULATED_DEVICES: Final = 8
"""Default of --max in a simulation, which has no devices to count."""

_SHORTEST_S: Final = 0.001
"""Lower bound of --target-wait and --interval: with shorter intervals the replay of a day would take too long."""


def policy_options() -> Iterator[TyperOption]:
    """Make the options; an option that is not given has the default of Tuning."""
    count = {"metavar": "N", "type": int}
    text = "Seconds that a task may wait in the queue"
    yield _duration("--target-wait", text, Tuning.target_s, least_s=_SHORTEST_S)
    yield option("--min", text=f"Smallest number of workers (default {Tuning.least}).", default=None, **count)
    text = f"Largest number of workers (default: one per device; {_SIMULATED_DEVICES} in a simulation)."
    yield option("--max", text=text, default=None, **count)
    text = "Balance of cost and latency: economy, balanced (the default) or latency."
    yield option("--preset", text=text, metavar="NAME", default=None)
    yield _duration("--interval", "Seconds between two decisions", Tuning.tick_s, least_s=_SHORTEST_S)
    text = "Seconds that a worker stays idle before it is stopped: with --min 0 the last worker, with --threshold any"
    yield _duration("--zero-after", f"{text} worker", Tuning.zero_s)
    text = "Use the threshold policy: start one more worker while more than N tasks wait."
    yield option("--threshold", text=text, default=None, **count)


def _duration(flag: str, text: str, default_s: float, *, least_s: float = 0.0) -> TyperOption:
    text = f"{text} ({SPELLINGS[duration]}; default {default_s:g})."
    return option(flag, text=text, metavar="SECONDS", type=DurationType(least_s), default=None)


def tuning(ctx: typer.Context, *, devices: int = _SIMULATED_DEVICES) -> Tuning:
    """Read the policy's options; `devices` is the default of --max.

    Raises UsageError.
    """
    asked = given(ctx, "")
    preset = asked.get("preset", "balanced")
    if preset not in PRESETS:
        raise UsageError(what=f"there is no preset {preset!r}", fix="use `--preset` economy, balanced or latency")
    named = {"target_wait": "target_s", "min": "least", "max": "most", "interval": "tick_s", "zero_after": "zero_s"}
    chosen = {field: asked[name] for name, field in named.items() if name in asked}
    found = Tuning(**{"most": devices, **chosen, **PRESETS[preset]})
    # A short --zero-after applies to every worker, not just to the last one.
    floor_s, dear_floor_s = min(found.floor_s, found.zero_s), min(found.dear_floor_s, found.zero_s)
    found = replace(found, floor_s=floor_s, dear_floor_s=dear_floor_s)
    if not 0 <= found.least <= found.most or found.most < 1:
        what = f"--min {found.least} and --max {found.most} are not a range of 1 worker or more"
        raise UsageError(what=what, fix="such as `--min 1 --max 4`")
    return found


def policy(ctx: typer.Context, chosen: Tuning) -> Deciding:
    """Make the policy, or the threshold policy if --threshold is given.

    Raises UsageError.
    """
    asked = given(ctx, "")
    if "threshold" not in asked:
        return Policy(chosen)
    refuse(asked, ("preset", "target_wait"), "--threshold selects the threshold policy", fix="leave out --threshold")
    return threshold(asked, chosen)


def threshold(asked: dict[str, Any], chosen: Tuning) -> Threshold:
    """Make the threshold policy.

    Raises UsageError.
    """
    number = asked.get("threshold", THRESHOLD)
    if number < 0:
        raise UsageError(what=f"--threshold {number} is not a number of tasks", fix="such as `--threshold 50`")
    return Threshold(chosen, number)


def refuse(asked: dict[str, Any], ignored: Sequence[str], what: str, *, fix: str) -> None:
    """Refuse options that the chosen policy would ignore. Raises UsageError."""
    flags = ["--" + name.replace("_", "-") for name in ignored if name in asked]
    if flags:
        raise UsageError(what=f"{what}, which does not use {flags[0]}", fix=f"leave it out, or {fix}")
