"""Decisions of the autoscaler, for people and scripts."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from mlq.terminal.printable import printable
from mlq.terminal.tables import UNKNOWN

if TYPE_CHECKING:
    from mlq.autoscale.policy.policy import Decision
    from mlq.autoscale.replay.simulation import Replay
    from mlq.terminal.live_line import LiveLine
    from mlq.terminal.terminal import Terminal


def document(queue: str, decision: Decision) -> dict[str, Any]:
    """mlq.decision/1: one decision, with every figure that led to it; what is not known is null."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    lists = {"drain": list(decision.drain), "give_up": list(decision.give_up), "stuck": list(decision.stuck)}
    return {"schema": "mlq.decision/1", **asdict(decision), "at": now, "queue": queue, **lists}


def line(decision: Decision) -> str:
    """Say a decision in a line."""
    waits, runs, starting = _counts(decision)
    text = f"{waits} waiting, {runs} running, {decision.live}{starting} workers, want {decision.want}: "
    given_up = f"; given up, not ready in time: {', '.join(decision.give_up)}" if decision.give_up else ""
    return printable(text + f"{decision.action}, {decision.reason}{given_up}")


def _counts(decision: Decision) -> tuple[str, str, str]:
    """Write what waits, what runs, and who starts."""
    waits = "?" if decision.ready is None else str(decision.ready)
    runs = "?" if decision.in_flight is None else str(decision.in_flight)
    return waits, runs, f" (+{decision.starting})" if decision.starting else ""


def at_length(decision: Decision) -> str:
    """Say a decision, and under it every figure that led to it."""
    return f"{line(decision)}\n  {figures(decision)}"


def figures(decision: Decision) -> str:
    """Name the figures of a decision in a line; what is not known, or what the plain rule does not ask, is UNKNOWN."""
    named = [
        ("arrivals", decision.rate, "/s"),
        ("a worker does", decision.service_rate, "/s"),
        ("can do", decision.capacity, "/s"),
        ("a start takes", decision.cold_start_s, " s"),
        ("backlog", decision.backlog, ""),
        ("base", decision.base, ""),
        ("need", decision.need, ""),
        ("keep", decision.keep, ""),
    ]
    return ", ".join(f"{name} {UNKNOWN if n is None else _figure(n) + unit}" for name, n, unit in named)


def _figure(number: float) -> str:
    """Write three digits of a small number, and a large one whole."""
    return f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}"  # noqa: PLR2004 (three digits)


def now(queue: str, decision: Decision, at: datetime) -> str:
    """Say how things stand, in a line that is rewritten: the clock tells for how long it has not been."""
    waits, runs, starting = _counts(decision)
    rate = UNKNOWN if decision.rate is None else _figure(decision.rate)
    workers = f"{decision.live}{starting} of {decision.want} workers"
    return f"{at:%H:%M:%S} {queue}: {workers}, {waits} waiting, {runs} running, {rate}/s; {decision.reason}"


class DecisionLog:
    """Tells decisions: all of them under --json or --verbose, else those that change something.

    The last one stands in the bottom line.
    """

    def __init__(self, terminal: Terminal, queue: str, bottom: LiveLine) -> None:
        self._terminal = terminal
        self._queue = queue
        self._bottom = bottom
        self._last: tuple[int, str] | None = None

    def __call__(self, decision: Decision) -> None:
        """Tell one decision, if anybody can hear: whoever read the log and left must not stop the scaling."""
        with suppress(OSError):
            self._write(decision)

    def _write(self, decision: Decision) -> None:
        if self._terminal.json:
            self._terminal.emit(document(self._queue, decision))
            return
        news = decision.want, decision.action
        if news != self._last or decision.give_up or self._terminal.verbosity > 0:
            self._terminal.say(line(decision))
        self._last = news
        self._bottom.show(now(self._queue, decision, datetime.now(timezone.utc).astimezone()))


def replay_document(outcome: Replay) -> dict[str, Any]:
    """mlq.replay/1: what a trace would have cost, and how long its tasks would have waited."""
    return {
        "schema": "mlq.replay/1",
        "tasks": len(outcome.waits),
        "worker_seconds": round(outcome.cost, 1),
        "in_time": round(outcome.in_time, 5),
        "wait_p50_s": round(outcome.quantile(0.5), 4),
        "wait_p99_s": round(outcome.quantile(0.99), 4),
        "starts": outcome.starts,
        "stops": outcome.stops,
        "most_workers": max((n for _, n, _ in outcome.history), default=0),
    }


def replay_text(outcome: Replay) -> str:
    """Say the same to a person."""
    found = replay_document(outcome)
    return "\n".join(
        [
            f"{found['tasks']} tasks, {found['in_time']:.2%} started within {outcome.target_s:g} s",
            f"wait p50 {found['wait_p50_s']:.2f} s, p99 {found['wait_p99_s']:.2f} s",
            f"{found['worker_seconds'] / 3600:.2f} worker-hours, {found['most_workers']} workers at most",
            f"{found['starts']} starts, {found['stops']} stops, none of them while a task ran",
        ]
    )
