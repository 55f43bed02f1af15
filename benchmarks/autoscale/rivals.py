"""The default policies of other autoscalers, in the simulator that drives mlq's policy.

Each is written from its public documentation, with the defaults of 2026. A policy gets only the figures it can see.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from mlq.autoscale.policy.observation import Observation
from mlq.autoscale.policy.policy import Decision


@dataclass
class _Fleet:
    """Turns a wanted number of workers into starts and drains."""

    least: int = 1
    most: int = 8

    def to(self, seen: Observation, wanted: int) -> Decision:
        """Start workers at once, or drain the longest idle ones: no policy may kill running tasks here."""
        there = [w for w in seen.workers if w.state in {"starting", "idle", "busy"}]
        wanted = min(max(wanted, self.least), self.most)
        live = sum(w.takes_work for w in there)
        decision = Decision(seen.at, seen.ready, seen.in_flight, live, len(there) - live, wanted, "hold", "")
        if wanted > len(there):
            return _with(decision, start=wanted - len(there))
        idle = sorted((w for w in there if w.state == "idle"), key=lambda w: -w.idle_s)
        return _with(decision, drain=[w.id for w in idle[: len(there) - wanted]])


def _with(decision: Decision, *, start: int = 0, drain: list[str] | None = None) -> Decision:
    from dataclasses import replace

    return replace(decision, start=start, drain=drain or [])


class Keda:
    """KEDA's Redis list scaler (5 per replica) with an HPA: a look every 15 s, at most doubling, down after 300 s."""

    EVERY_S: Final = 15.0
    PER_REPLICA: Final = 5
    DOWN_S: Final = 300.0

    def __init__(self) -> None:
        self._fleet = _Fleet()
        self._next_at = 0.0
        self._wanted = 1
        self._past: deque[tuple[float, int]] = deque()

    def decide(self, seen: Observation) -> Decision:
        """Use only the waiting tasks, because running ones are not in the list."""
        if seen.at >= self._next_at:
            self._next_at = seen.at + self.EVERY_S
            there = sum(w.state in {"starting", "idle", "busy"} for w in seen.workers)
            now = min(math.ceil((seen.ready or 0) / self.PER_REPLICA), max(2 * there, there + 4))
            self._past.append((seen.at, now))
            while self._past[0][0] < seen.at - self.DOWN_S:
                self._past.popleft()
            self._wanted = max(n for _, n in self._past)
        return self._fleet.to(seen, self._wanted)


class RayServe:
    """Ray Serve: two ongoing requests per replica, averaged over 30 s; up after 30 s, down after 600 s."""

    ONGOING: Final = 2.0
    LOOK_BACK_S: Final = 30.0
    UP_S: Final = 30.0
    DOWN_S: Final = 600.0

    def __init__(self) -> None:
        self._fleet = _Fleet()
        self._past: deque[tuple[float, int]] = deque()
        self._since: tuple[int, float] = (0, 0.0)

    def decide(self, seen: Observation) -> Decision:
        """Change the number only if the change was wanted without a break for the delay."""
        self._past.append((seen.at, (seen.ready or 0) + (seen.in_flight or 0)))
        while self._past[0][0] < seen.at - self.LOOK_BACK_S:
            self._past.popleft()
        wanted = math.ceil(sum(n for _, n in self._past) / len(self._past) / self.ONGOING)
        there = sum(w.state in {"starting", "idle", "busy"} for w in seen.workers)
        way = (wanted > there) - (wanted < there)
        if way != self._since[0]:
            self._since = way, seen.at
        delay = self.UP_S if way > 0 else self.DOWN_S
        return self._fleet.to(seen, wanted if way and seen.at - self._since[1] >= delay else there)


class Knative:
    """Knative's KPA with one request per pod: 70% busy, 60 s stable, a panic window of 6 s at twice the capacity."""

    TARGET: Final = 0.7
    STABLE_S: Final = 60.0
    PANIC_S: Final = 6.0

    def __init__(self) -> None:
        self._fleet = _Fleet()
        self._past: deque[tuple[float, int]] = deque()
        self._panics_until = -1.0
        self._highest = 0

    def decide(self, seen: Observation) -> Decision:
        """Follow the average concurrency; in a panic only upwards."""
        self._past.append((seen.at, (seen.ready or 0) + (seen.in_flight or 0)))
        while self._past[0][0] < seen.at - self.STABLE_S:
            self._past.popleft()
        recent = [n for at, n in self._past if at >= seen.at - self.PANIC_S]
        stable = math.ceil(sum(n for _, n in self._past) / len(self._past) / self.TARGET)
        panic = math.ceil(sum(recent) / len(recent) / self.TARGET)
        there = sum(w.state in {"starting", "idle", "busy"} for w in seen.workers)
        if panic >= 2 * max(1, there):
            self._panics_until, self._highest = seen.at + self.STABLE_S, max(self._highest, panic)
        if seen.at < self._panics_until:
            self._highest = max(self._highest, panic)
            return self._fleet.to(seen, max(self._highest, there))
        self._highest = 0
        return self._fleet.to(seen, stable)
