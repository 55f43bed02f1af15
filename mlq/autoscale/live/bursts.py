"""Bursts: whether those that were started for waiting tasks came when there was nothing left to do. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mlq.autoscale.policy.last_seen import LastSeen
from mlq.autoscale.policy.observation import Observation, WorkerSample
from mlq.autoscale.policy.policy import BLIND, Deciding, Decision, Tuning

_AGAIN_S: Final = 600.0
"""Between two pieces of advice: bursts that come every minute are one matter."""

_LATE: Final = 2.0
"""So many times the target: a little late now and then is what every policy allows."""

_OVER: Final = 3
"""So many ticks are no chance any more."""

_LOOKS: Final = 1800
"""What a burst has at most that is over before a worker has started."""


@dataclass(frozen=True)
class _Look:
    """What happened since the look before: seconds, tasks that came, tasks that were done; and how many wait."""

    seconds: float
    came: int
    done: int
    ready: int


@dataclass(frozen=True)
class _Burst:
    """One for which workers are being started: since when, and who was there before."""

    began_at: float
    before: frozenset[str]


@dataclass
class BurstWatch:
    """Looks on while a policy decides, and says so when no policy could have been in time: a start takes too long.

    A burst is one if tasks waited longer than the target while workers were starting. It was over too soon if, before
    the first of them was ready, fewer came for a while than those who had been there can do. A queue whose messages
    carry no time of their own shows no lateness, and the plain rule no rates: of these nothing is said.
    """

    tuning: Tuning
    _looks: deque[_Look] = field(default_factory=lambda: deque(maxlen=_LOOKS))
    _done: LastSeen[int] = field(default_factory=LastSeen)
    _at: float | None = None
    _there: int = 0
    _is_whole: bool = False
    _burst: _Burst | None = None
    _said_at: float = -math.inf

    def look(self, seen: Observation, decision: Decision) -> str | None:
        """Look once more; give advice if a burst has just turned out to be over too soon, every ten minutes at most."""
        if seen.ready is None or seen.in_flight is None or decision.service_rate is None:
            self._at = self._burst = None
            return None
        self._count(seen, seen.ready, seen.in_flight)
        is_late = seen.oldest_s is not None and seen.oldest_s > self.tuning.target_s
        is_starting = any(w.state == "starting" for w in seen.workers)
        burst = self._burst
        if burst is None:
            if is_late and is_starting and self._is_whole:
                self._burst = _Burst(seen.at, frozenset(w.id for w in seen.workers if w.takes_work))
            return None
        joined = [w for w in seen.workers if w.takes_work and w.id not in burst.before]
        if not joined and is_starting:
            return None
        self._burst = None
        return self._advice(seen.at, burst, joined, decision.service_rate) if joined and self._is_whole else None

    def _count(self, seen: Observation, ready: int, flying: int) -> None:
        """Note what came and was done since the queue was last empty: what was there before came at no known time."""
        done = sum(max(0, w.done - self._done.get(w.id, 0)) for w in seen.workers)
        self._done.keep(seen.at, {w.id: w.done for w in seen.workers})
        last_at, before, self._at, self._there = self._at, self._there, seen.at, ready + flying
        if last_at is None or seen.at - last_at > BLIND * self.tuning.tick_s:
            self._looks.clear()
            self._burst = None
            self._is_whole = not ready
            return
        if not ready and self._burst is None:
            self._looks.clear()
            self._is_whole = True
        self._is_whole = self._is_whole and len(self._looks) < _LOOKS
        self._looks.append(_Look(seen.at - last_at, ready + flying - before + done, done, ready))

    def _advice(self, at: float, burst: _Burst, joined: Sequence[WorkerSample], rate: float) -> str | None:
        """Advise if all was over before anybody joined."""
        there = len(burst.before)
        each = self._rate_of_one(there, rate)
        if at - self._said_at < _AGAIN_S or not there or not self._was_over(there * each):
            return None
        if self._longest_wait(there * each) <= _LATE * self.tuning.target_s:
            return None
        more = range(there + 1, self.tuning.most + 1)
        least = next((n for n in more if self._longest_wait(n * each) <= self.tuning.target_s), None)
        if least is None:
            return None
        self._said_at = at
        took = min((w.ready_s for w in joined if w.ready_s is not None), default=at - burst.began_at)
        return f"a burst was over before a worker had started ({took:.0f} s): `--min {least}` would have met it in time"

    def _rate_of_one(self, there: int, rate: float) -> float:
        """Give what one does in a second: while tasks wait nobody has a rest, so all are at least as fast as this."""
        busy_s = there * sum(look.seconds for look in self._looks if look.ready)
        done = sum(look.done for look in self._looks if look.ready)
        return max(rate, done / busy_s if busy_s else 0.0)

    def _was_over(self, capacity: float) -> bool:
        """Tell whether, since most waited, fewer came than are done, and for long enough not to be chance."""
        looks = list(self._looks)
        peak = max(range(len(looks)), key=lambda n: looks[n].ready, default=0)
        since = looks[peak + 1 :]
        seconds = sum(look.seconds for look in since)
        longest = max(self.tuning.target_s, _OVER * self.tuning.tick_s)
        return seconds >= longest and sum(look.came for look in since) < capacity * seconds

    def _longest_wait(self, capacity: float) -> float:
        """Follow the burst as a fluid past workers who do so much together (tasks/s); give the longest wait (s)."""
        level = longest = 0.0
        for look in self._looks:
            done = capacity * look.seconds
            longest = max(longest, (level + look.came - done / 2) / capacity)  # it came in the middle of the time
            level = max(0.0, level + look.came - done)
        return longest


class Advised:
    """A policy, beside which somebody watches for what no policy can do, and says so."""

    def __init__(self, policy: Deciding, watch: BurstWatch, say: Callable[[str], None]) -> None:
        self._policy = policy
        self._watch = watch
        self._say = say

    def decide(self, seen: Observation) -> Decision:
        """Decide as the policy does."""
        decision = self._policy.decide(seen)
        advice = self._watch.look(seen, decision)
        if advice is not None:
            self._say(advice)
        return decision
