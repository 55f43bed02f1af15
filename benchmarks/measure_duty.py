"""Duty of the device with a backlog: the share of the time in which it computes, as the model itself records it.

The device is a forward of 10 ms that releases the GIL. Messages are single rows of a stock producer. A high duty is
possible with one row per forward, so the rows are measured as well.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks import inputs, model
from benchmarks.findings import BARE, MLQ, PLAIN, Finding, Target, at_least
from benchmarks.scale import Scale
from benchmarks.stage import Stage
from benchmarks.turns import turns

_SEEN_WITHIN_S: Final = 10.0
_MOST_PER_S: Final = model.ROWS_AT_ONCE[model.SLOW] / model.FORWARD_S


@dataclass(frozen=True)
class Duty:
    """One window, from the beginning of its first forward to the end of its last."""

    share: float
    rows_per_s: float
    rows_a_forward: float


def measure(stage: Stage, scale: Scale) -> Sequence[Finding]:
    """Compare with a bare loop that reads the rows from a file: of 16 floats, and of 150 KB."""
    random = stage.random()
    rows = inputs.numbers(random, int(1.1 * scale.window_s * _MOST_PER_S))
    few = len(rows) // model.ROWS_AT_ONCE[model.SLOW]  # the plain setup computes row by row
    small = _compare(stage, scale, {MLQ: rows, PLAIN: rows[:few], BARE: rows})
    pictures = inputs.pictures(random, scale.pictures)
    big = _compare(stage, scale, dict.fromkeys((MLQ, PLAIN, BARE), pictures))
    return [*_findings("16 floats", small, at_least(0.9)), *_findings("150 KB", big, None)]


def _findings(payload: str, found: Mapping[str, list[Duty]], target: Target | None) -> Sequence[Finding]:
    what = f"device with a backlog, {payload} a row"
    shares = {who: [d.share for d in duties] for who, duties in found.items()}
    rates = {who: [d.rows_per_s for d in duties] for who, duties in found.items()}
    together = {who: [d.rows_a_forward for d in duties] for who, duties in found.items()}
    over = (MLQ, BARE)
    return [
        Finding(f"{what}: duty", "", shares, over, target),
        Finding(f"{what}: rows", "1/s", rates, over),
        Finding(f"{what}: rows in a forward", "", together, over),
    ]


def _compare(stage: Stage, scale: Scale, rows: Mapping[str, Sequence[Any]]) -> Mapping[str, list[Duty]]:
    contenders = {MLQ: stage.mlq(model.SLOW), PLAIN: stage.plain(model.SLOW)}
    for contender in contenders.values():
        contender.client.ask(rows[MLQ][0])
    found: dict[str, list[Duty]] = {who: [] for who in rows}
    for who in turns(list(rows), scale.rounds):
        earlier = len(model.recorded(stage.forwards))
        if who == BARE:
            _bare(stage, rows[who])
            found[who].append(_duty(model.recorded(stage.forwards)[earlier:]))
            continue
        backlog = contenders[who].client.fill(rows[who])
        try:
            backlog.release()
            _wait_for_a_forward(stage, earlier)
            backlog.wait(scale.window_s)
            found[who].append(_duty(model.recorded(stage.forwards)[earlier:]))
        finally:
            backlog.drop()
        contenders[who].client.ask(rows[who][0])  # the rows that the worker held are finished after this
    return found


def _wait_for_a_forward(stage: Stage, earlier: int) -> None:
    """Wait for the first forward, with which the window begins: the time until then is a latency."""
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while len(model.recorded(stage.forwards)) == earlier:
        if time.monotonic() > deadline:
            raise RuntimeError(f"a backlog was not seen within {_SEEN_WITHIN_S:g} s")
        time.sleep(model.FORWARD_S)


def _bare(stage: Stage, rows: Sequence[Any]) -> None:
    source = inputs.write(stage.directory / "backlog.jsonl", rows)
    target = stage.directory / "backlog.answers.jsonl"
    stage.run([sys.executable, "-m", "benchmarks.bare", model.SLOW, str(source), str(target)])


def _duty(forwards: Sequence[model.Record]) -> Duty:
    wall = forwards[-1].ended - forwards[0].began
    rows = sum(f.rows for f in forwards)
    return Duty(sum(f.ended - f.began for f in forwards) / wall, rows / wall, rows / len(forwards))
