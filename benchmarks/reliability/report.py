"""RELIABILITY.md: the table of faults, recovery, and the soaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from benchmarks.findings import percentile
from benchmarks.reliability.faults import Fault
from benchmarks.reliability.recovery import Recovery
from benchmarks.reliability.soak import Account
from benchmarks.reliability.stage import PATIENCE_S, Outcome, seconds


@dataclass(frozen=True)
class Row:
    """What became of one fault under both setups."""

    fault: Fault
    mlq: Outcome
    plain: Outcome


def write(
    command: str, about: Sequence[str], rows: Sequence[Row], recovery: Recovery | None, soaks: Sequence[Account]
) -> str:
    """Write the report: what was asked for and no more."""
    now = datetime.now(timezone.utc)
    lines = [
        "# Reliability",
        "",
        f"Written by `{command}` on {now:%Y-%m-%d %H:%M} UTC. The same faults against mlq and against the plain setup",
        "(benchmarks/plain: late acks, prefetch 1, solo, each worker in a shell's loop), one after the other, each on",
        f"a server of its own that writes everything to disk. Nothing is waited for longer than {PATIENCE_S:g} s.",
        "",
        *(f"- {line}" for line in about),
    ]
    lines += _faults(rows) if rows else []
    lines += _recovery(recovery) if recovery is not None else []
    lines += _soaks(soaks) if soaks else []
    return "\n".join([*lines, ""])


def _faults(rows: Sequence[Row]) -> list[str]:
    head = ["", "## One fault at a time", "", "| fault | plain | mlq | mlq must | holds |", "|---|---|---|---|---|"]
    return head + [
        f"| {r.fault.what} | {r.plain.said} | {r.mlq.said} | {r.fault.must} | {_yes(holds=r.mlq.holds)} |" for r in rows
    ]


def _recovery(recovery: Recovery) -> list[str]:
    lines = ["", "## Recovery", ""]
    lines += ["mlq's workers, four on a host; the plain setup's figure is in the first row above.", ""]
    lines += ["| what | n | p50 | p99 | mlq must | holds |", "|---|---|---|---|---|---|"]
    for what, took, must, holds in recovery.rows():
        figures = f"{len(took)} | {seconds(percentile(took, 0.5))} | {seconds(percentile(took, 0.99))}"
        lines.append(f"| {what} | {figures} | {must} | {_yes(holds=holds)} |")
    return lines


def _soaks(soaks: Sequence[Account]) -> list[str]:
    lines = ["", "## The soak", "", "Two hosts with two workers each, each on a wire of its own, under load."]
    lines += ["Executions beyond the first are allowed and counted: a task that was killed runs again.", ""]
    lines += [f"| | {' | '.join(a.setup for a in soaks)} |", "|---|" + "---|" * len(soaks)]
    for name in ("submitted", "lost", "stuck", "twice", "failed", "extra", "revived"):
        lines.append(f"| {_WORDS[name]} | {' | '.join(f'{getattr(a, name):,}' for a in soaks)} |")
    lines.append(f"| faults | {' | '.join(f'{a.faults.total():,}' for a in soaks)} |")
    lines.append(f"| seed; seconds | {' | '.join(f'{a.seed}; {a.seconds:.0f}' for a in soaks)} |")
    lines.append(f"| 95% bound on what is lost, stuck or recorded twice | {' | '.join(a.bound for a in soaks)} |")
    lines += ["", f"Faults, {' and '.join(a.setup for a in soaks)}:", ""]
    kinds = sorted({kind for a in soaks for kind in a.faults})
    return lines + [f"- {kind}: {', '.join(str(a.faults[kind]) for a in soaks)}" for kind in kinds]


_WORDS = {
    "submitted": "messages",
    "lost": "lost: no result, and nowhere",
    "stuck": "stuck: no result, still in the broker",
    "twice": "recorded twice",
    "failed": "failed for no reason of their own",
    "extra": "executions beyond the first",
    "revived": "hosts that the harness had to start again unasked",
}


def _yes(*, holds: bool) -> str:
    return "yes" if holds else "**no**"
