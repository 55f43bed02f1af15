"""Cause the same faults in mlq and in the plain setup, and report what happened to the tasks.  make reliability"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks import machine
from chaos.reliability import recovery, report, sentinel
from chaos.reliability.faults import FAULTS
from chaos.reliability.report import Findings, Row
from chaos.reliability.setups import MLQ, PLAIN
from chaos.reliability.soak import soak

REPORT: Final = Path(__file__).resolve().parents[1] / "RELIABILITY.md"
PARTS: Final = ("faults", "recovery", "sentinel", "soak")
_PACKAGES: Final = ("mlq-cli", "celery", "kombu", "redis")


def main(argv: Sequence[str]) -> int:
    """Run the chosen parts; return 1 if mlq broke a promise, or if the harness saw no loss of the plain setup."""
    asked = _arguments(argv)
    parts = asked.only or PARTS
    found = Findings()
    if "faults" in parts:
        for fault in FAULTS:
            found.rows.append(Row(fault, fault.run(MLQ), fault.run(PLAIN)))
            _say(f"{fault.what}: mlq {found.rows[-1].mlq.said}; plain {found.rows[-1].plain.said}")
    if "recovery" in parts:
        found.recovery = recovery.measure(asked.kills, asked.kills // 10, asked.seed)
        _say(f"recovery: {'holds' if found.recovery.holds else 'does not hold'}")
    if "sentinel" in parts:
        found.fail_overs = [sentinel.measure(wait=wait) for wait in (False, True)]
        _say(f"sentinel: {found.fail_overs}")
    if "soak" in parts:
        for setup in (MLQ,) if asked.mlq_alone else (MLQ, PLAIN):
            found.soaks.append(soak(setup, asked.tasks, asked.faults, asked.seed))
            _say(str(found.soaks[-1]))
    text = report.write(" ".join(["python -m chaos.reliability", *argv]), _about(), found)
    if not asked.only:
        REPORT.write_text(text)
    sys.stdout.write(text)
    return 0 if found.holds else 1


def _about() -> list[str]:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    versions = f"Python {platform.python_version()}, {machine.server()}, {packages}; commit {machine.commit()}"
    return [f"Machine: {machine.description()}", f"Versions: {versions}"]


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.reliability", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="run only this part and print the report to stdout; repeatable"
    )
    parser.add_argument("--tasks", type=int, default=10_000, help="tasks of a soak (default 10,000)")
    parser.add_argument("--faults", type=int, default=500, help="faults of a soak (default 500)")
    parser.add_argument(
        "--kills",
        type=int,
        default=100,
        help="kills of workers to measure recovery, and a tenth of that of hosts (default 100)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of load and faults (default 1)")
    parser.add_argument("--mlq-alone", action="store_true", help="run no soak of the plain setup")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
