"""Options of the autoscaler's policy, which the loop and the simulator share, and the policy that they make."""

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
"""How many may wait before the plain rule starts one more, where nobody says."""


_SHORTEST_S: Final = 0.001
"""Of the target, and between two looks: a replay of a day has an end."""


def policy_options() -> Iterator[TyperOption]:
    """Make the options; what is not given is Tuning's default."""
    seconds, count = {"metavar": "SECONDS", "type": float}, {"metavar": "N", "type": int}
    yield option("--target-wait", text="Seconds that work may wait: 2.", default=None, **seconds)
    yield option("--min", text="Workers that are always there: 1.", default=None, **count)
    yield option("--max", text="Workers at most: one for each device, 8 in a simulation.", default=None, **count)
    yield option("--preset", text="economy, balanced (the default) or latency.", metavar="NAME", default=None)
    yield option("--interval", text="Seconds between two looks: 2.", default=None, **seconds)
    text = "With --min 0 the last one goes when idle for so long, with --threshold each: 300."
    yield option("--zero-after", text=text, default=None, **seconds)
    yield option("--threshold", text="The plain rule instead: one more while more wait.", default=None, **count)


def tuning(ctx: typer.Context, *, devices: int) -> Tuning:
    """Read the policy's options.

    Raises UsageError.
    """
    asked = given(ctx, "")
    preset = asked.get("preset", "balanced")
    if preset not in PRESETS:
        raise UsageError(what=f"no preset {preset!r}", fix="add `--preset` economy, balanced or latency")
    named = {"target_wait": "target_s", "min": "least", "max": "most", "interval": "tick_s", "zero_after": "zero_s"}
    _check_times(asked)
    chosen = {field: asked[name] for name, field in named.items() if name in asked}
    found = Tuning(**{"most": devices, **chosen, **PRESETS[preset]})
    # Who empties soon means all of them.
    floor_s, dear_floor_s = min(found.floor_s, found.zero_s), min(found.dear_floor_s, found.zero_s)
    found = replace(found, floor_s=floor_s, dear_floor_s=dear_floor_s)
    if not 0 <= found.least <= found.most or found.most < 1:
        what = f"--min {found.least} and --max {found.most} leave nothing to choose"
        raise UsageError(what=what, fix="such as `--min 1 --max 4`")
    return found


def _check_times(asked: dict[str, Any]) -> None:
    """Refuse what no span of time is. Raises UsageError."""
    for name, least in (("target_wait", _SHORTEST_S), ("interval", _SHORTEST_S), ("zero_after", 0.0)):
        value = asked.get(name, least)
        if not least <= value < math.inf:
            flag = "--" + name.replace("_", "-")
            what = f"{flag} {value:g} is no number of seconds, of which there must be {least:g} at least"
            raise UsageError(what=what, fix="such as `--target-wait 2 --interval 2 --zero-after 300`")


def policy(ctx: typer.Context, chosen: Tuning) -> Deciding:
    """Make the policy, or the plain rule where --threshold is given.

    Raises UsageError.
    """
    asked = given(ctx, "")
    if "threshold" not in asked:
        return Policy(chosen)
    refuse(asked, ("preset", "target_wait"), "--threshold is the plain rule", fix="leave out --threshold")
    return threshold(asked, chosen)


def threshold(asked: dict[str, Any], chosen: Tuning) -> Threshold:
    """Make the plain rule.

    Raises UsageError.
    """
    number = asked.get("threshold", THRESHOLD)
    if number < 0:
        raise UsageError(what=f"--threshold {number} is no number of tasks", fix="such as `--threshold 50`")
    return Threshold(chosen, number)


def refuse(asked: dict[str, Any], ignored: Sequence[str], what: str, *, fix: str) -> None:
    """Refuse options that would do nothing: none is ignored. Raises UsageError."""
    flags = ["--" + name.replace("_", "-") for name in ignored if name in asked]
    if flags:
        raise UsageError(what=f"{what}, to which {flags[0]} says nothing", fix=f"leave it out, or {fix}")
