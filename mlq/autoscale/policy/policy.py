"""Policy: how many workers a queue needs, and why. Pure: observations in, decisions out; no clock, no I/O."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

from mlq.autoscale.policy.arrivals import ArrivalMeter, Rates
from mlq.autoscale.policy.observation import Observation, WorkerSample
from mlq.autoscale.policy.service import ServiceMeter, ServiceRate
from mlq.autoscale.policy.staffing import Capacity, capacity, staff


class Retention:
    """Remembers when each number of workers was last needed for the rate, and when for a backlog."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._for_rate = [-math.inf] * most
        self._for_backlog = [-math.inf] * most

    def needed(self, at: float, base: int, need: int) -> None:
        """Say how many are needed now for the rate, and how many in all."""
        self._for_rate[:base] = [at] * min(base, self._most)
        self._for_backlog[:need] = [at] * min(need, self._most)

    def keep(self, at: float, rate_s: float, backlog_s: float) -> int:
        """Give the highest number that was needed within so many seconds, for the one reason or the other."""
        held = [
            k + 1
            for k in range(self._most)
            if at - self._for_rate[k] <= rate_s or at - self._for_backlog[k] <= backlog_s
        ]
        return max(held, default=0)


_COLD_START_S: Final = 30.0
"""What a start is taken to need before the first has succeeded."""

_COLD_STARTS: Final = 8
"""The last ones, of which the upper quartile is what a start takes."""

_FIRST_S: Final = 1800.0
"""How long a start, or a task, may take as long as none has succeeded."""

BLIND: Final = 3
"""So many ticks without a look, and history is worth nothing; so many looks later there is one again."""


@dataclass(frozen=True)
class Tuning:
    """What users choose: the target (s), bounds, and how careful to be.

    `late` is the share of tasks that may wait longer, `hold` how many cold starts' worth a worker is kept that is
    dear to replace, `floor_s` the least time that one is kept, `dear_floor_s` the least for the dearest. `zero_s` is
    how long the last one is kept, where there may be none.
    """

    target_s: float = 2.0
    least: int = 1
    most: int = 8
    tick_s: float = 2.0
    late: float = 0.05
    hold: float = 10.0
    floor_s: float = 30.0
    dear_floor_s: float = 120.0
    zero_s: float = 300.0


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "economy": {"hold": 4.0, "dear_floor_s": 30.0},
    "balanced": {},
    "latency": {"late": 0.01, "hold": 20.0},
}


@dataclass(frozen=True)
class Decision:
    """What is to be done now, and every figure that led to it; None where nothing was known.

    `want` workers are to be there; `start` so many, `drain` these, `give_up` those that should have been ready by
    now; `stuck` are busy with one task for so long that they count for nothing. `slow_rate`, `fast_rate` and `rate` are
    arrivals a second, `service_rate` tasks a second that one worker was seen to do, `capacity` what it can do with full
    batches. `cold_start_s` are seconds, `backlog` the tasks that will wait when a worker that is started now is ready.
    `base` workers are needed for the rate, `need` in all; `keep` are kept.
    """

    at: float
    ready: int | None
    in_flight: int | None
    live: int
    starting: int
    want: int
    action: Literal["start", "drain", "hold"]
    reason: str
    start: int = 0
    drain: Sequence[str] = ()
    give_up: Sequence[str] = ()
    stuck: Sequence[str] = ()
    slow_rate: float | None = None
    fast_rate: float | None = None
    rate: float | None = None
    service_rate: float | None = None
    capacity: float | None = None
    squared_cv: float | None = None
    cold_start_s: float | None = None
    backlog: float | None = None
    base: int | None = None
    need: int | None = None
    keep: int | None = None


class Deciding(Protocol):
    """What the loop and the simulator drive."""

    def decide(self, seen: Observation) -> Decision:
        """Decide once; the observations' times only grow."""


class Policy:
    """Staffs for the arrival rate by Erlang C, for a backlog by what the present workers cannot work off in time."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._arrivals = ArrivalMeter(tuning.target_s)
        self._service = ServiceMeter()
        self._holding = Retention(tuning.most)
        self._cold_starts: deque[float] = deque(maxlen=_COLD_STARTS)
        self._started: set[str] = set()
        self._leaving: set[str] = set()
        self._seen_at: float | None = None
        self._looks = 0
        self._asked_for = 0
        self._want = tuning.least

    def decide(self, seen: Observation) -> Decision:
        """Decide. While the queue cannot be seen nobody is stopped, and only what died is replaced."""
        tuning = self._tuning
        # An order is heard with a worker's next heartbeat: until then it looks as if it stayed, and is no capacity.
        self._leaving &= {w.id for w in seen.workers if w.takes_work}
        staying = [w for w in seen.workers if w.takes_work and w.id not in self._leaving]
        live = [w for w in staying if w.running_s <= self._stuck_s]
        starting = [w for w in seen.workers if w.state == "starting" and w.age_s <= self._start_timeout_s]
        overdue = [w.id for w in seen.workers if w.state == "starting" and w.mine and w.age_s > self._start_timeout_s]
        stuck = [w.id for w in seen.workers if w.takes_work and w.running_s > self._stuck_s]
        counts = seen.ready, seen.in_flight, len(live), len(starting)
        decision = Decision(seen.at, *counts, self._want, "hold", "", give_up=overdue, stuck=stuck)
        if seen.ready is None or seen.in_flight is None:
            missing = max(0, min(self._want, tuning.most) - len(live) - len(starting) - len(overdue))
            action: Literal["start", "hold"] = "start" if missing else "hold"
            reason = "the queue cannot be seen: as before"
            return replace(decision, start=missing, action=action, reason=reason, give_up=())
        return self._decide(decision, seen, seen.ready, seen.in_flight, live, starting)

    def _decide(
        self,
        decision: Decision,
        seen: Observation,
        ready: int,
        flying: int,
        live: list[WorkerSample],
        starting: list[WorkerSample],
    ) -> Decision:
        tuning, at = self._tuning, seen.at
        if self._seen_at is None or at - self._seen_at > BLIND * tuning.tick_s:
            self._arrivals.forget()
            self._looks = self._asked_for = 0
        self._seen_at = at
        self._hold_who_was_there(at, seen.workers)
        rates = self._arrivals.look(at, ready, flying, seen.workers)
        rate = rates.believed if rates else 0.0  # until it is known who is there stays, and what waits decides
        service = self._service.look(at, seen.workers, self._stuck_s)
        cold = self._cold_start(seen.workers, starting)
        each = capacity(service, tuning.target_s)
        backlog = self._backlog(ready, rate, each, len(live), starting, cold)
        base = staff(rate, each, service.squared_cv, tuning.target_s, tuning.late, tuning.most)
        need, why = self._for_backlog(base, backlog, each, cold, rate, live, starting, seen)
        why = why or _usual_reason(rates, service, each)
        if rates is None:
            need = max(need, len(live) + len(starting))
        if ready + flying > 0:
            need = max(need, 1)
        need = min(max(need, tuning.least), tuning.most)
        base = min(max(base, tuning.least), tuning.most)
        self._holding.needed(at, base, need)
        keep = max(tuning.least, self._held(at, cold))
        figures = replace(
            decision,
            slow_rate=rates.slow if rates else None,
            fast_rate=rates.fast if rates else None,
            rate=rates.believed if rates else None,
            service_rate=service.rate if service.is_known else None,
            capacity=each.rate if service.is_known else None,
            squared_cv=service.squared_cv if service.is_known else None,
            cold_start_s=cold,
            backlog=backlog,
            base=base if rates else None,
            need=need,
            keep=keep,
        )
        told = sorted(self._leaving)  # once more, since an order may have been lost with the connection
        acted = self._act(figures, need, keep, why, live, starting)
        return replace(acted, drain=[*acted.drain, *told])

    def _act(
        self, figures: Decision, need: int, keep: int, why: str, live: list[WorkerSample], starting: list[WorkerSample]
    ) -> Decision:
        there = len(live) + len(starting)
        if need > there:
            self._want = need
            self._asked_for += need - there
            return replace(figures, want=need, start=need - there, action="start", reason=why)
        if len(live) > keep and figures.ready == 0:
            idle = sorted((w for w in live if w.state == "idle" and w.mine), key=lambda w: -w.idle_s)
            leaving = [w.id for w in idle[: len(live) - keep]]
            if leaving:
                self._leaving.update(leaving)
                self._want = max(keep, there - len(leaving))
                reason = f"{keep} suffice, and have for a while"
                return replace(figures, want=self._want, drain=leaving, action="drain", reason=reason)
        self._want = max(need, min(there, self._tuning.most))
        if there > need:
            reason = f"{there - need} more than needed, kept for a while"
        else:
            reason = "as many as are needed" if figures.rate is not None else why
        return replace(figures, want=self._want, reason=reason)

    def _hold_who_was_there(self, at: float, workers: Sequence[WorkerSample]) -> None:
        """Take who was there before the first look for needed now, since nothing else is known.

        Some are heard of a look or two later: after a server that lost its data, say. Who was asked for since then, and
        starts, has a history of its own.
        """
        self._looks += 1
        if self._looks <= BLIND:
            starting = sum(w.state == "starting" for w in workers)
            there = sum(w.takes_work for w in workers) + max(0, starting - self._asked_for)
            self._holding.needed(at, there, there)

    @property
    def _start_timeout_s(self) -> float:
        """Give up a start after four times the usual cold start; until one has succeeded nobody knows what is usual."""
        return max(4 * _upper_quartile(self._cold_starts), 60.0) if self._cold_starts else _FIRST_S

    @property
    def _stuck_s(self) -> float:
        """Take a task for stuck after twenty times the mean; until one has ended nobody knows what is usual."""
        mean_s = self._service.mean_s
        return _FIRST_S if mean_s is None else max(20 * mean_s, 5 * self._tuning.target_s, 30.0)

    def _cold_start(self, workers: Sequence[WorkerSample], starting: Sequence[WorkerSample]) -> float:
        """Give the upper quartile of the last eight starts; before the first, what the longest has taken so far."""
        started = {w.id: w.ready_s for w in workers if w.ready_s is not None}
        self._cold_starts.extend(s for wid, s in started.items() if wid not in self._started)
        self._started = set(started)
        if self._cold_starts:
            return _upper_quartile(self._cold_starts)
        return max([_COLD_START_S, *(w.age_s for w in starting)])

    def _backlog(
        self, ready: int, rate: float, each: Capacity, live: int, starting: Sequence[WorkerSample], cold: float
    ) -> float:
        """Follow the backlog as a fluid until a worker that is started now would be ready."""
        horizon = cold + self._tuning.tick_s
        joins = sorted(min(horizon, max(0.0, cold - w.age_s)) for w in starting)
        level, now, serving = float(ready), 0.0, live
        for at in [*joins, horizon]:
            level = max(0.0, level + (rate - each.rate * serving) * (at - now))
            now, serving = at, serving + 1
        return level

    def _for_backlog(  # noqa: PLR0913, PLR0917 (it weighs all that there is)
        self,
        base: int,
        backlog: float,
        each: Capacity,
        cold: float,
        rate: float,
        live: Sequence[WorkerSample],
        starting: Sequence[WorkerSample],
        seen: Observation,
    ) -> tuple[int, str | None]:
        tuning = self._tuning
        need, why = base, None
        if backlog > 0.5 * each.rate * tuning.target_s * max(1, len(live)) or (backlog > 0 and not live):
            drained_in = max(tuning.target_s, cold / 2)
            wanted = math.ceil(rate / each.rate + backlog / (each.rate * drained_in))
            if wanted > need:
                need, why = wanted, f"{backlog:.0f} tasks will wait when a new worker is ready"
        late = seen.oldest_s is not None and seen.oldest_s > max(tuning.target_s, 2 * each.turn_s)
        nobody_idle = not starting and not any(w.state == "idle" for w in live)
        if seen.ready and late and nobody_idle and len(live) + (backlog > 0) > need:
            need, why = len(live) + (backlog > 0), f"the oldest has waited {seen.oldest_s:.1f} s"
        return need, why

    def _held(self, at: float, cold: float) -> int:
        """Keep the longer what is dear to replace: a cold start beyond the target is paid by those who wait.

        Only for the last worker there is an option of its own: the others go as ever.
        """
        tuning = self._tuning
        dear = min(1.0, max(0.0, (cold + tuning.tick_s - tuning.target_s) / cold)) if cold > 0 else 0.0
        wanted = cold * (1 + (tuning.hold - 1) * dear)
        rate_s = min(600.0, max(wanted, tuning.floor_s, tuning.dear_floor_s * dear))
        held = self._holding.keep(at, rate_s, max(tuning.floor_s, cold))
        if held <= 1 and tuning.least == 0:
            return min(1, self._holding.keep(at, tuning.zero_s, tuning.zero_s))
        return held


def _usual_reason(rates: Rates | None, service: ServiceRate, each: Capacity) -> str:
    if rates is None:
        return "how fast work arrives is not known yet"
    does = f"a worker can do {each.rate:.3g}" if service.is_known else "what a worker can do is not known yet"
    return f"{rates.believed:.3g} tasks/s arrive, {does}"


def _upper_quartile(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(0.75 * len(ordered)) - 1)]


class Threshold:
    """The plain rule: one more worker while more than so many wait, and none is ever stopped but at rest."""

    def __init__(self, tuning: Tuning, threshold: int) -> None:
        self._tuning = tuning
        self._threshold = threshold

    def decide(self, seen: Observation) -> Decision:
        """Start one if the queue is longer than the threshold; drain one when nothing waits and one is idle."""
        tuning = self._tuning
        live = [w for w in seen.workers if w.takes_work]
        starting = sum(w.state == "starting" for w in seen.workers)
        there = len(live) + starting
        decision = Decision(seen.at, seen.ready, seen.in_flight, len(live), starting, there, "hold", "in between")
        if seen.ready is None:
            return replace(decision, reason="the queue cannot be seen: as before")
        if there < tuning.least:
            return replace(decision, want=tuning.least, start=tuning.least - there, action="start", reason="--min")
        if seen.ready > self._threshold and there < tuning.most:
            reason = f"{seen.ready} wait, more than {self._threshold}"
            return replace(decision, want=there + 1, start=1, action="start", reason=reason)
        rested = [w for w in live if w.state == "idle" and w.mine and w.idle_s >= tuning.zero_s]
        if seen.ready == 0 and rested and there > tuning.least:
            longest = max(rested, key=lambda w: w.idle_s)
            reason = f"nothing waits, and one has been idle for {longest.idle_s:.0f} s"
            return replace(decision, want=there - 1, drain=[longest.id], action="drain", reason=reason)
        return decision
