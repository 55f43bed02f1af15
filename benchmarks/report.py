"""RESULTS.md: the description of a run, and the table of its findings."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from benchmarks import machine
from benchmarks.findings import Finding
from benchmarks.stage import BIN, ROOT, Stage


@dataclass(frozen=True)
class Run:
    """The facts above the table."""

    command: str
    seed: int
    rounds: int
    machine: str
    versions: str
    workers: Sequence[str]


def about(stage: Stage, command: str, rounds: int) -> Run:
    """Describe a run on a stage."""
    return Run(
        command,
        stage.seed,
        rounds,
        machine.description(),
        machine.versions(stage.server),
        [shlex.join(_shown(word, stage) for word in argv) for argv in stage.commands],
    )


def write(run: Run, findings: Sequence[Finding], failures: Mapping[str, str]) -> str:
    """Return the report."""
    now = datetime.now(timezone.utc)
    head = [
        "# Results",
        "",
        f"Written by `{run.command}` on {now:%Y-%m-%d %H:%M} UTC, seed {run.seed}, {run.rounds} rounds, medians.",
        "Ratios are medians of one ratio a round, with the smallest and the largest; they mean something on any",
        "machine, the figures only on this one. Contenders take turns within a round, on one server.",
        "",
        f"- Machine: {run.machine}",
        f"- Versions: {run.versions}",
        "- One worker each, one thread each, results on:",
        *(f"  - `{worker}`" for worker in run.workers),
        "",
    ]
    return "\n".join([*head, *table(findings), *_failed(failures), ""])


def table(findings: Sequence[Finding]) -> list[str]:
    """Return the table, one finding per row."""
    rows = [
        "| what | figures | ratio | target | met |",
        "|---|---|---|---|---|",
    ]
    return [*rows, *(_row(f) for f in findings)]


def _row(found: Finding) -> str:
    figures = ", ".join(f"{who} **{number(value)}**" for who, value in found.figures().items())
    unit = f", {found.unit}" if found.unit else ""
    ratio, met = _ratio(found)
    return f"| {found.what}{unit} | {figures} | {ratio} | {found.target or ''} | {met} |"


def _ratio(found: Finding) -> tuple[str, str]:
    ratios = found.ratios()
    if found.over is None or not ratios:
        return "", ""
    middle = statistics.median(ratios)
    spread = f" ({min(ratios):.3g} to {max(ratios):.3g})" if len(ratios) > 1 else ""
    met = "" if found.target is None else "yes" if found.target.holds(middle) else "**no**"
    return f"{found.over[0]} ÷ {found.over[1]} = {middle:.3g}{spread}", met


def number(value: float) -> str:
    """Return a number with three significant figures."""
    return f"{float(f'{value:.3g}'):,.10g}"


def _shown(word: str, stage: Stage) -> str:
    """Return a word of a command without the directories of this machine."""
    for place in (stage.directory, BIN, ROOT):
        word = word.replace(f"{place}/", "")
    return word


def _failed(failures: Mapping[str, str]) -> list[str]:
    if not failures:
        return []
    return ["", "Not measured:", "", *(f"- {name}: {reason}" for name, reason in failures.items())]
