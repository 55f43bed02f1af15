"""Rows per second from a file on one CPU worker, beside a bare loop in one process.

mlq and the plain setup are whole commands, start included. The bare loop is timed without the load of its model,
because workers have theirs loaded, too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from benchmarks import inputs, model
from benchmarks.findings import BARE, MLQ, PLAIN, Finding, Samples, Target, at_least
from benchmarks.scale import Scale
from benchmarks.stage import BIN, Stage
from benchmarks.turns import turns

_CLOSE: Final = 1e-4
_FEW: Final = 64

Command = Callable[[Path, Path], float]
"""A function from a file of rows to a file of answers that returns the seconds."""


def small(stage: Stage, scale: Scale) -> Sequence[Finding]:
    """Measure the cost of moving rows: the model costs almost nothing."""
    return _measure(stage, scale.rounds, model.SMALL, scale.small_rows, at_least(0.35))


def large(stage: Stage, scale: Scale) -> Sequence[Finding]:
    """Measure the cost if the model is most of the work."""
    rows = dict.fromkeys((BARE, MLQ, PLAIN), scale.large_rows)
    return _measure(stage, scale.rounds, model.LARGE, rows, at_least(0.9))


def _measure(stage: Stage, rounds: int, name: str, rows: Mapping[str, int], target: Target) -> Sequence[Finding]:
    stage.mlq(name)
    stage.plain(name)
    ways: Mapping[str, Command] = {
        MLQ: partial(submit, stage, str(BIN / "mlq")),
        PLAIN: partial(_plain, stage, name),
        BARE: partial(bare, stage, name),
    }
    made = inputs.numbers(stage.random(), max(rows.values()))
    files = {who: inputs.write(stage.directory / f"{name}-{who}.jsonl", made[: rows[who]]) for who in ways}
    few = inputs.write(stage.directory / f"{name}-few.jsonl", made[:_FEW])
    wanted = timed(stage, ways[BARE], few)[1]
    took: dict[str, list[float]] = {who: [] for who in ways}
    start: dict[str, list[float]] = {MLQ: [], PLAIN: []}
    for who in turns(list(ways), rounds):
        if who in start:
            start[who].append(timed(stage, ways[who], few)[0])
        seconds, answers = timed(stage, ways[who], files[who])
        check(who, answers, wanted, rows[who])
        took[who].append(seconds)
    return _findings(f"rows from a file, one CPU worker, {name} MLP", rows, took, start, target)


def _findings(what: str, rows: Mapping[str, int], took: Samples, start: Samples, target: Target) -> Sequence[Finding]:
    rates = {who: [rows[who] / s for s in seconds] for who, seconds in took.items()}
    found = [
        Finding(what, "1/s", rates, (MLQ, BARE), target),
        Finding(f"{what}, beside it the plain setup in chunks of 256", "1/s", _two(rates, PLAIN), (PLAIN, BARE)),
        Finding(
            f"a file of {_FEW} rows, {what.rpartition(', ')[2]}: the command's own start", "s", start, (MLQ, PLAIN)
        ),
    ]
    pairs = list(zip(took[MLQ], start[MLQ], strict=True))
    if all(all_s > 2 * start_s for all_s, start_s in pairs):  # for a shorter file the rest would be mostly noise
        net = [(rows[MLQ] - _FEW) / (all_s - start_s) for all_s, start_s in pairs]
        title = f"{what}, the command's own start taken off"
        found.append(Finding(title, "1/s", {MLQ: net, BARE: rates[BARE]}, (MLQ, BARE)))
    return found


def _two(rates: Samples, who: str) -> Samples:
    return {who: rates[who], BARE: rates[BARE]}


def timed(stage: Stage, way: Command, source: Path) -> tuple[float, list[Any]]:
    """Return the seconds that a way takes for a file, and the answers."""
    target = stage.directory / "answers.jsonl"
    target.unlink(missing_ok=True)
    took = way(source, target)
    return took, [orjson.loads(line) for line in target.read_bytes().splitlines()]


def submit(stage: Stage, mlq: str, source: Path, target: Path, **extra: str) -> float:
    """Let the `mlq` command of an environment answer a file; return the seconds, start and end included."""
    return _clocked(stage, [mlq, "submit", str(source), "--wait", "-o", str(target)], **extra)


def _plain(stage: Stage, name: str, source: Path, target: Path) -> float:
    argv = [sys.executable, "-m", "benchmarks.plain.submit", str(source), str(target)]
    return _clocked(stage, argv, **stage.plain_setup(name))


def bare(stage: Stage, name: str, source: Path, target: Path) -> float:
    """Let the bare loop answer a file; return the seconds without its start and the load of the model."""
    return float(stage.run([sys.executable, "-m", "benchmarks.bare", name, str(source), str(target)]))


def _clocked(stage: Stage, argv: Sequence[str], **extra: str) -> float:
    began = time.perf_counter()
    stage.run(argv, **extra)
    return time.perf_counter() - began


def check(who: str, answers: Sequence[Any], wanted: Sequence[Any], rows: int) -> None:
    """Check that all contenders computed the same: the speed of wrong answers is no figure."""
    got = np.array([line["result"] for line in answers], np.float32)
    first = np.array([line["result"] for line in wanted], np.float32)
    if got.shape != (rows, model.CLASSES) or not np.allclose(got[: len(first)], first, atol=_CLOSE):
        raise RuntimeError(f"{who} answered wrongly: {got.shape} for {rows} rows")
