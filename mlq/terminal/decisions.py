"""Decisions of the autoscaler as lines of text and JSON documents."""

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
    """Describe a decision and every figure behind it as mlq.decision/1; an unknown figure is null."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    lists = {"drain": list(decision.drain), "give_up": list(decision.give_up), "stuck": list(decision.stuck)}
    return {"schema": "mlq.decision/1", **asdict(decision), "at": now, "queue": queue, **lists}


def line(decision: Decision) -> str:
    """Write a decision as a line of text."""
    waits, runs, starting = _counts(decision)
    text = f"{waits} waiting, {runs} running, {decision.live}{starting} workers, want {decision.want}: "
    given_up = f"; given up, not ready in time: {', '.join(decision.give_up)}" if decision.give_up else ""
    return printable(text + f"{decision.action}, {decision.reason}{given_up}")


def _counts(decision: Decision) -> tuple[str, str, str]:
    """Write the numbers of waiting messages, running messages and starting workers."""
    waits = "?" if decision.ready is None else str(decision.ready)
    runs = "?" if decision.in_flight is None else str(decision.in_flight)
    return waits, runs, f" (+{decision.starting})" if decision.starting else ""


def at_length(decision: Decision) -> str:
    """Write a decision as a line, and every figure behind it as a second line."""
    return f"{line(decision)}\n  {figures(decision)}"


def figures(decision: Decision) -> str:
    """Write the figures of a decision; one that is unknown, or that the threshold policy does not use, is UNKNOWN."""
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
    """Write a number with three significant digits, or as a whole number from 100 on."""
    return f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}"  # noqa: PLR2004 (three digits)


def now(queue: str, decision: Decision, at: datetime) -> str:
    """Write the state of a queue for the live line; its time shows when it was last updated."""
    waits, runs, starting = _counts(decision)
    rate = UNKNOWN if decision.rate is None else _figure(decision.rate)
    workers = f"{decision.live}{starting} of {decision.want} workers"
    return f"{at:%H:%M:%S} {queue}: {workers}, {waits} waiting, {runs} running, {rate}/s; {decision.reason}"


class DecisionLog:
    """Prints decisions: with --json or --verbose all of them, otherwise those that change something.

    The live line shows the last decision.
    """

    def __init__(self, terminal: Terminal, queue: str, bottom: LiveLine) -> None:
        self._terminal = terminal
        self._queue = queue
        self._bottom = bottom
        self._last: tuple[int, str] | None = None

    def __call__(self, decision: Decision) -> None:
        """Print a decision, if it is to be printed."""
        with suppress(OSError):  # a closed stdout or stderr must not stop the autoscaler
            self._write(decision)

    def _write(self, decision: Decision) -> None:
        if self._terminal.json:
            self._terminal.emit(document(self._queue, decision))
            return
        change = decision.want, decision.action
        if change != self._last or decision.give_up or self._terminal.verbosity > 0:
            self._terminal.say(line(decision))
        self._last = change
        self._bottom.show(now(self._queue, decision, datetime.now(timezone.utc).astimezone()))


def replay_document(outcome: Replay) -> dict[str, Any]:
    """Describe a replay as mlq.replay/1: the cost in worker-seconds, and how long tasks would have waited."""
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
    """Write the outcome of a replay as lines of text."""
    found = replay_document(outcome)
    return "\n".join(
        [
            f"{found['tasks']} tasks, {found['in_time']:.2%} started within {outcome.target_s:g} s",
            f"wait p50 {found['wait_p50_s']:.2f} s, p99 {found['wait_p99_s']:.2f} s",
            f"{found['worker_seconds'] / 3600:.2f} worker-hours, {found['most_workers']} workers at most",
            f"{found['starts']} starts, {found['stops']} stops, none of them while a task ran",
        ]
    )
