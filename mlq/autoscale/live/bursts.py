"""Bursts that end before the workers that were started for them are ready: detection and advice. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mlq.autoscale.policy.last_seen import LastSeen
from mlq.autoscale.policy.observation import Observation, WorkerSample
from mlq.autoscale.policy.policy import BLIND, Deciding, Decision, Tuning

_ADVICE_EVERY_S: Final = 600.0
"""Seconds between two pieces of advice. Bursts that come every minute need only one."""

_LATE_FACTOR: Final = 2.0
"""Advice is given if a task waited longer than this multiple of the target. Every policy lets a few tasks wait longer
than the target."""

_LULL_TICKS: Final = 3
"""Ticks after which a lull in the arrivals is not a coincidence any more."""

_MOST_LOOKS: Final = 1800
"""Most looks of one burst. A longer burst is not over before a worker has started."""


@dataclass(frozen=True)
class _Look:
    """What happened between two looks at the queue."""

    seconds: float
    #: Tasks that arrived.
    came: int
    #: Tasks that were done.
    done: int
    #: Tasks that waited at the later look.
    ready: int


@dataclass(frozen=True)
class _Burst:
    """A burst for which workers are being started."""

    began_at: float
    #: Ids of the workers that took work before.
    before: frozenset[str]


@dataclass
class BurstWatch:
    """Watches a policy, and advises when no policy could have been in time because a start takes too long.

    A burst begins when tasks wait longer than the target while workers are starting. It was over too soon if, before
    the first new worker was ready, fewer tasks arrived for a while than the earlier workers can do. Without timestamps
    in the messages, or without rates from the policy (as with the threshold rule), no advice is given.
    """

    tuning: Tuning
    _looks: deque[_Look] = field(default_factory=lambda: deque(maxlen=_MOST_LOOKS))
    _done: LastSeen[int] = field(default_factory=LastSeen)
    _at: float | None = None
    _there: int = 0
    _is_whole: bool = False
    _burst: _Burst | None = None
    _advised_at: float = -math.inf

    def look(self, observation: Observation, decision: Decision) -> str | None:
        """Take in one observation; return advice if a burst was over too soon, at most once in ten minutes."""
        if observation.ready is None or observation.in_flight is None or decision.service_rate is None:
            self._at = self._burst = None
            return None
        self._count(observation, observation.ready, observation.in_flight)
        is_late = observation.oldest_s is not None and observation.oldest_s > self.tuning.target_s
        is_starting = any(w.state == "starting" for w in observation.workers)
        burst = self._burst
        if burst is None:
            if is_late and is_starting and self._is_whole:
                self._burst = _Burst(observation.at, frozenset(w.id for w in observation.workers if w.takes_work))
            return None
        joined = [w for w in observation.workers if w.takes_work and w.id not in burst.before]
        if not joined and is_starting:
            return None
        self._burst = None
        return self._advice(observation.at, burst, joined, decision.service_rate) if joined and self._is_whole else None

    def _count(self, observation: Observation, ready: int, flying: int) -> None:
        """Count arrivals and ended tasks since the queue was last empty: earlier arrivals have no known time."""
        done = sum(max(0, w.done - self._done.get(w.id, 0)) for w in observation.workers)
        self._done.keep(observation.at, {w.id: w.done for w in observation.workers})
        last_at, before, self._at, self._there = self._at, self._there, observation.at, ready + flying
        if last_at is None or observation.at - last_at > BLIND * self.tuning.tick_s:
            self._looks.clear()
            self._burst = None
            self._is_whole = not ready
            return
        if not ready and self._burst is None:
            self._looks.clear()
            self._is_whole = True
        self._is_whole = self._is_whole and len(self._looks) < _MOST_LOOKS
        self._looks.append(_Look(observation.at - last_at, ready + flying - before + done, done, ready))

    def _advice(self, at: float, burst: _Burst, joined: Sequence[WorkerSample], rate: float) -> str | None:
        """Return advice if the burst was over before a new worker joined, and more workers would have been in time."""
        there = len(burst.before)
        each = self._rate_of_one(there, rate)
        if at - self._advised_at < _ADVICE_EVERY_S or not there or not self._was_over(there * each):
            return None
        if self._longest_wait(there * each) <= _LATE_FACTOR * self.tuning.target_s:
            return None
        more = range(there + 1, self.tuning.most + 1)
        least = next((n for n in more if self._longest_wait(n * each) <= self.tuning.target_s), None)
        if least is None:
            return None
        self._advised_at = at
        took = min((w.ready_s for w in joined if w.ready_s is not None), default=at - burst.began_at)
        return f"a burst was over before a worker had started ({took:.0f} s): `--min {least}` would have met it in time"

    def _rate_of_one(self, there: int, rate: float) -> float:
        """Return the tasks per second of one worker, a lower bound: while tasks wait all workers are busy."""
        busy_s = there * sum(look.seconds for look in self._looks if look.ready)
        done = sum(look.done for look in self._looks if look.ready)
        return max(rate, done / busy_s if busy_s else 0.0)

    def _was_over(self, capacity: float) -> bool:
        """Return whether, since the peak of the queue, fewer tasks arrived than workers can do, for long enough."""
        looks = list(self._looks)
        peak = max(range(len(looks)), key=lambda n: looks[n].ready, default=0)
        since = looks[peak + 1 :]
        seconds = sum(look.seconds for look in since)
        longest = max(self.tuning.target_s, _LULL_TICKS * self.tuning.tick_s)
        return seconds >= longest and sum(look.came for look in since) < capacity * seconds

    def _longest_wait(self, capacity: float) -> float:
        """Return the longest wait (s) of the burst, as a fluid, with workers of this total capacity (tasks/s)."""
        level = longest = 0.0
        for look in self._looks:
            done = capacity * look.seconds
            longest = max(longest, (level + look.came - done / 2) / capacity)  # arrivals in the middle of the interval
            level = max(0.0, level + look.came - done)
        return longest


class Advised:
    """A policy with a BurstWatch beside it, whose advice goes to `say`."""

    def __init__(self, policy: Deciding, watch: BurstWatch, say: Callable[[str], None]) -> None:
        self._policy = policy
        self._watch = watch
        self._say = say

    def decide(self, observation: Observation) -> Decision:
        """Decide as the policy does."""
        decision = self._policy.decide(observation)
        advice = self._watch.look(observation, decision)
        if advice is not None:
            self._say(advice)
        return decision
