"""The options of the autoscaler's policy, for `autoscale run` and `simulate`, and the policy that follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import typer
from typer.core import TyperOption

from mlq.autoscale.policy.policy import PRESETS, Deciding, Policy, Threshold, Tuning
from mlq.cli.invocation import given, option
from mlq.errors import UsageError

THRESHOLD: Final = 50
"""Default of --threshold: waiting tasks above which the threshold policy starts one more worker."""

_SIMULATED_DEVICES: Final = 8
"""Default of --max in a simulation, which has no devices to count."""

_SHORTEST_S: Final = 0.001
"""Lower bound of --target-wait and --interval: with shorter intervals the replay of a day would take too long."""


def policy_options() -> Iterator[TyperOption]:
    """Make the options; an option that is not given has the default of Tuning."""
    seconds, count = {"metavar": "SECONDS", "type": float}, {"metavar": "N", "type": int}
    text = f"Seconds that a task may wait in the queue (default {Tuning.target_s:g})."
    yield option("--target-wait", text=text, default=None, **seconds)
    yield option("--min", text=f"Smallest number of workers (default {Tuning.least}).", default=None, **count)
    text = f"Largest number of workers (default: one per device; {_SIMULATED_DEVICES} in a simulation)."
    yield option("--max", text=text, default=None, **count)
    text = "Balance of cost and latency: economy, balanced (the default) or latency."
    yield option("--preset", text=text, metavar="NAME", default=None)
    yield option(
        "--interval", text=f"Seconds between two decisions (default {Tuning.tick_s:g}).", default=None, **seconds
    )
    text = "Seconds that a worker stays idle before it is stopped: with --min 0 the last worker, with --threshold any"
    yield option("--zero-after", text=f"{text} worker (default {Tuning.zero_s:g}).", default=None, **seconds)
    text = "Use the threshold policy: start one more worker while more than N tasks wait."
    yield option("--threshold", text=text, default=None, **count)


def tuning(ctx: typer.Context, *, devices: int = _SIMULATED_DEVICES) -> Tuning:
    """Read the policy's options; `devices` is the default of --max.

    Raises UsageError.
    """
    asked = given(ctx, "")
    preset = asked.get("preset", "balanced")
    if preset not in PRESETS:
        raise UsageError(what=f"there is no preset {preset!r}", fix="use `--preset` economy, balanced or latency")
    named = {"target_wait": "target_s", "min": "least", "max": "most", "interval": "tick_s", "zero_after": "zero_s"}
    _check_times(asked)
    chosen = {field: asked[name] for name, field in named.items() if name in asked}
    found = Tuning(**{"most": devices, **chosen, **PRESETS[preset]})
    # A short --zero-after applies to every worker, not just to the last one.
    floor_s, dear_floor_s = min(found.floor_s, found.zero_s), min(found.dear_floor_s, found.zero_s)
    found = replace(found, floor_s=floor_s, dear_floor_s=dear_floor_s)
    if not 0 <= found.least <= found.most or found.most < 1:
        what = f"--min {found.least} and --max {found.most} are not a range of 1 worker or more"
        raise UsageError(what=what, fix="such as `--min 1 --max 4`")
    return found


def _check_times(asked: dict[str, Any]) -> None:
    """Refuse times that are too short or infinite. Raises UsageError."""
    for name, least in (("target_wait", _SHORTEST_S), ("interval", _SHORTEST_S), ("zero_after", 0.0)):
        value = asked.get(name, least)
        if not least <= value < math.inf:
            flag = "--" + name.replace("_", "-")
            what = f"{flag} {value:g} is not a number of seconds of at least {least:g}"
            raise UsageError(what=what, fix="such as `--target-wait 2 --interval 2 --zero-after 300`")


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
