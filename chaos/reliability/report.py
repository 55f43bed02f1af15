"""The report RELIABILITY.md: the table of faults, recovery, and the soaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from benchmarks.findings import percentile
from chaos.reliability.faults import Fault
from chaos.reliability.recovery import Recovery
from chaos.reliability.sentinel import FailOver
from chaos.reliability.setups import MLQ, PLAIN
from chaos.reliability.soak import Account
from chaos.reliability.stage import PATIENCE_S, Outcome, seconds


@dataclass(frozen=True)
class Row:
    """The outcome of one fault with both setups."""

    fault: Fault
    mlq: Outcome
    plain: Outcome


@dataclass
class Findings:
    """The results of the parts that were run."""

    rows: list[Row] = field(default_factory=list)
    recovery: Recovery | None = None
    fail_overs: list[FailOver] = field(default_factory=list)
    soaks: list[Account] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """True if every promise of mlq holds, and the harness saw the plain setup lose messages."""
        ours = [r.mlq.holds for r in self.rows] + [f.holds for f in self.fail_overs]
        ours += [a.holds for a in self.soaks if a.setup == MLQ.name]
        ours += [self.recovery.holds] if self.recovery is not None else []
        return all(ours) and not any(a.holds for a in self.soaks if a.setup == PLAIN.name)


def write(command: str, about: Sequence[str], found: Findings) -> str:
    """Write the report of the parts that were run."""
    now = datetime.now(timezone.utc)
    lines = [
        "# Reliability",
        "",
        f"Written by `{command}` on {now:%Y-%m-%d %H:%M} UTC. The same faults against mlq and against the plain setup",
        "(benchmarks/plain: late acks, prefetch 1, solo, each worker in a shell's loop), one after the other, each on",
        f"a server of its own that writes everything to disk. Every wait ends after {PATIENCE_S:g} s.",
        "",
        *(f"- {line}" for line in about),
    ]
    lines += _faults(found.rows) if found.rows else []
    lines += _recovery(found.recovery) if found.recovery is not None else []
    lines += _fail_overs(found.fail_overs) if found.fail_overs else []
    lines += _soaks(found.soaks) if found.soaks else []
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


def _fail_overs(found: Sequence[FailOver]) -> list[str]:
    lines = ["", "## Sentinel", ""]
    lines += ["The primary of three servers is killed under load; Sentinel reports it as down after a second.", ""]
    lines += ["| submits | runs again after | acknowledged | lost | extra executions | mlq must | holds |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for f in found:
        how, must = ("with `WAIT 1`", "≤ 10 s, 0 lost") if f.waited else ("as they are", "≤ 10 s, losses counted")
        figures = f"{seconds(f.again_s)} | {f.acknowledged} | {f.lost} | {f.extra}"
        lines.append(f"| {how} | {figures} | {must} | {_yes(holds=f.holds)} |")
    return lines


def _soaks(soaks: Sequence[Account]) -> list[str]:
    lines = ["", "## The soak", "", "Two hosts under load, each with two workers and its own proxy to the server."]
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
    "lost": "lost: no result, and nowhere in the broker",
    "stuck": "stuck: no result, still in the broker",
    "twice": "recorded twice",
    "failed": "failed without a cause in the message",
    "unburied": "malformed messages that are no dead letter",
    "extra": "executions beyond the first",
    "revived": "hosts that the harness had to start again without an order",
}


def _yes(*, holds: bool) -> str:
    return "yes" if holds else "**no**"
