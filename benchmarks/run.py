"""Measure mlq beside a plain Celery setup, rq, dramatiq and a bare loop.  python -m benchmarks.run [--quick]"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks import (
    measure_duty,
    measure_file,
    measure_idle,
    measure_latency,
    measure_memory,
    measure_messages,
    measure_urgency,
    report,
)
from benchmarks.findings import Finding, Measure
from benchmarks.scale import FULL, QUICK, USUAL, Scale
from benchmarks.stage import Stage, stage

RESULTS: Final = Path(__file__).with_name("RESULTS.md")

# In the order of their models: contenders keep running for the next measurement with the same model.
MEASURES: Final[Mapping[str, Measure]] = {
    "messages": measure_messages.measure,
    "latency": measure_latency.measure,
    "file": measure_file.small,
    "memory": measure_memory.measure,
    "large": measure_file.large,
    "duty": measure_duty.measure,
    "urgency": measure_urgency.measure,
    "idle": measure_idle.measure,
}


def main(argv: Sequence[str]) -> int:
    """Run the chosen measurements; return 1 if one failed. A missed target is a result, not a failure."""
    asked = _arguments(argv)
    scale = QUICK if asked.quick else FULL if asked.full else USUAL
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the stage is cleaned up
    with stage(asked.seed) as at:
        findings, failures = _measure(at, scale, asked.only or list(MEASURES))
        command = shlex.join(["python", "-m", "benchmarks.run", *argv])
        text = report.write(report.about(at, command, scale.rounds), findings, failures)
    sys.stdout.write(text)
    target = asked.output or (None if asked.quick or asked.only else RESULTS)
    if target is not None:
        target.write_text(text)
    return 1 if failures else 0


def _measure(at: Stage, scale: Scale, names: Sequence[str]) -> tuple[list[Finding], dict[str, str]]:
    """Run one measurement after another; one that fails does not stop the others."""
    findings: list[Finding] = []
    failures: dict[str, str] = {}
    for name in (n for n in MEASURES if n in names):
        began = time.monotonic()
        try:
            findings += MEASURES[name](at, scale)
        except Exception as error:  # noqa: BLE001 (any error belongs in the report)
            failures[name] = f"{type(error).__name__}: {error}"
            at.clear()  # a contender in an unknown state would falsify the next figures
        outcome = failures.get(name, "measured")
        sys.stderr.write(f"{name}: {outcome} ({time.monotonic() - began:.0f} s)\n")
    return findings, failures


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a smoke run, under a minute; writes no file")
    size.add_argument(
        "--full", action="store_true", help="the usual run, with the memory read after 1,000,000 messages"
    )
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="run only this measurement; repeatable")
    parser.add_argument("--seed", type=int, default=0, help="seed of all inputs (default 0)")
    parser.add_argument(
        "-o", "--output", type=Path, help=f"file for the report (default {RESULTS.name} for a whole run)"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
