"""Policy: how many workers a queue needs, and why. Observations in, decisions out; no clock, no I/O."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

from mlq.autoscale.policy.arrivals import ArrivalMeter, Rates
from mlq.autoscale.policy.capacity import Capacity, worker_capacity, workers_needed
from mlq.autoscale.policy.observation import Observation, WorkerSample
from mlq.autoscale.policy.service import ServiceMeter, ServiceRate


class Retention:
    """When each number of workers was last needed, for the arrival rate and for a backlog."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._for_rate = [-math.inf] * most
        self._for_backlog = [-math.inf] * most

    def needed(self, at: float, base: int, need: int) -> None:
        """Record that `base` workers are needed now for the rate, and `need` in all."""
        self._for_rate[:base] = [at] * min(base, self._most)
        self._for_backlog[:need] = [at] * min(need, self._most)

    def keep(self, at: float, rate_s: float, backlog_s: float) -> int:
        """Return the highest number that was needed for the rate within `rate_s`, or in all within `backlog_s`."""
        held = [
            k + 1
            for k in range(self._most)
            if at - self._for_rate[k] <= rate_s or at - self._for_backlog[k] <= backlog_s
        ]
        return max(held, default=0)


_COLD_START_S: Final = 30.0
"""Assumed cold-start time in seconds until the first start has succeeded."""

_COLD_STARTS: Final = 8
"""Number of recent starts whose upper quartile is the expected cold-start time."""

_FIRST_S: Final = 1800.0
"""Longest time in seconds for a start, or a task, until one has succeeded."""

BLIND: Final = 3
"""Ticks without an observation after which the history is dropped, and observations until there is a new one."""


_BLIND_REASON: Final = "the queue cannot be seen: as before"


@dataclass(frozen=True)
class Tuning:
    """The options of a policy."""

    #: Longest time (s) that a task should wait.
    target_s: float = 2.0
    #: Least number of workers.
    least: int = 1
    #: Greatest number of workers.
    most: int = 8
    #: Seconds between two decisions.
    tick_s: float = 2.0
    #: Share of tasks that may wait longer than the target.
    late: float = 0.05
    #: Minimum time to keep a worker, as a multiple of its cold-start time, if that is much longer than the target.
    hold: float = 10.0
    #: Minimum time (s) to keep any worker.
    floor_s: float = 30.0
    #: Minimum time (s) to keep a worker whose start takes much longer than the target.
    dear_floor_s: float = 120.0
    #: Time (s) to keep the last worker, if `least` is 0.
    zero_s: float = 300.0


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "economy": {"hold": 4.0, "dear_floor_s": 30.0},
    "balanced": {},
    "latency": {"late": 0.01, "hold": 20.0},
}


@dataclass(frozen=True)
class Decision:
    """What to do now, and every figure that led to it. Unknown figures are None."""

    at: float
    #: Waiting tasks.
    ready: int | None
    #: Running tasks.
    in_flight: int | None
    #: Workers that take work and are not stuck.
    live: int
    starting: int
    #: Workers that there should be.
    want: int
    action: Literal["start", "drain", "hold"]
    reason: str
    #: Workers to start.
    start: int = 0
    #: Ids of workers to drain.
    drain: Sequence[str] = ()
    #: Ids of workers to stop, because their start takes too long.
    give_up: Sequence[str] = ()
    #: Ids of workers that do not count, because their task takes too long.
    stuck: Sequence[str] = ()
    #: Arrivals per second over the slow window, over the fast one, and the rate to plan with.
    slow_rate: float | None = None
    fast_rate: float | None = None
    rate: float | None = None
    #: Tasks per second that one worker was seen to do.
    service_rate: float | None = None
    #: Tasks per second that one worker can do with full batches.
    capacity: float | None = None
    #: Squared coefficient of variation of the service times.
    squared_cv: float | None = None
    cold_start_s: float | None = None
    #: Tasks that will wait when a worker that is started now is ready.
    backlog: float | None = None
    #: Workers needed for the rate.
    base: int | None = None
    #: Workers needed in all.
    need: int | None = None
    #: Workers that are kept, because they were needed recently.
    keep: int | None = None


class Deciding(Protocol):
    """A policy, as the loop and the simulation use it."""

    def decide(self, seen: Observation) -> Decision:
        """Return the decision for one observation. The times of observations never decrease."""


class Policy:
    """Plans workers for the arrival rate by Erlang C, and for a backlog that the present ones cannot clear in time."""

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
        """Return the decision. While the queue cannot be observed no worker is drained; only lost ones are replaced."""
        tuning = self._tuning
        # A drain takes effect with a worker's next heartbeat. Until then the worker still looks idle or busy, but it
        # must not count as capacity.
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
            return replace(decision, start=missing, action=action, reason=_BLIND_REASON, give_up=())
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
        self._hold_first_workers(at, seen.workers)
        rates = self._arrivals.look(at, ready, flying, seen.workers)
        rate = rates.believed if rates else 0.0  # while it is unknown, the present workers and the backlog decide
        service = self._service.look(at, seen.workers, self._stuck_s)
        cold = self._cold_start(seen.workers, starting)
        each = worker_capacity(service, tuning.target_s)
        backlog = self._backlog(ready, rate, each, len(live), starting, cold)
        base = workers_needed(rate, each, service.squared_cv, tuning.target_s, tuning.late, tuning.most)
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
        again = sorted(self._leaving)  # repeated, because an order may have been lost with the connection
        acted = self._act(figures, need, keep, why, live, starting)
        return replace(acted, drain=[*acted.drain, *again])

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

    def _hold_first_workers(self, at: float, workers: Sequence[WorkerSample]) -> None:
        """Until there is history, treat workers that already exist as needed.

        This holds for the first looks, because some workers may be seen a look or two late, for example after a server
        lost its data. Starting workers that this policy asked for do not count: their need is in the history.
        """
        self._looks += 1
        if self._looks <= BLIND:
            starting = sum(w.state == "starting" for w in workers)
            there = sum(w.takes_work for w in workers) + max(0, starting - self._asked_for)
            self._holding.needed(at, there, there)

    @property
    def _start_timeout_s(self) -> float:
        """Seconds after which a start is given up: four times the usual cold start, once one is known."""
        return max(4 * _upper_quartile(self._cold_starts), 60.0) if self._cold_starts else _FIRST_S

    @property
    def _stuck_s(self) -> float:
        """Seconds after which a task counts as stuck: twenty times the mean, once one is known."""
        mean_s = self._service.mean_s
        return _FIRST_S if mean_s is None else max(20 * mean_s, 5 * self._tuning.target_s, 30.0)

    def _cold_start(self, workers: Sequence[WorkerSample], starting: Sequence[WorkerSample]) -> float:
        """Return the upper quartile of the last cold starts (s).

        Before the first has succeeded: 30 s, or the age of the oldest starting worker if that is more.
        """
        started = {w.id: w.ready_s for w in workers if w.ready_s is not None}
        self._cold_starts.extend(s for wid, s in started.items() if wid not in self._started)
        self._started = set(started)
        if self._cold_starts:
            return _upper_quartile(self._cold_starts)
        return max([_COLD_START_S, *(w.age_s for w in starting)])

    def _backlog(
        self, ready: int, rate: float, each: Capacity, live: int, starting: Sequence[WorkerSample], cold: float
    ) -> float:
        """Return the backlog, as a fluid, at the time when a worker that is started now would be ready."""
        horizon = cold + self._tuning.tick_s
        joins = sorted(min(horizon, max(0.0, cold - w.age_s)) for w in starting)
        level, now, serving = float(ready), 0.0, live
        for at in [*joins, horizon]:
            level = max(0.0, level + (rate - each.rate * serving) * (at - now))
            now, serving = at, serving + 1
        return level

    def _for_backlog(  # noqa: PLR0913, PLR0917 (the decision weighs all figures)
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
        """Return how many workers to keep, because they were needed recently.

        The longer a cold start takes compared with the target, the longer a worker is kept, because tasks would wait
        for its replacement. The last worker has an option of its own (`zero_s`) if `least` is 0.
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
    """The threshold rule: start one worker while more than `threshold` tasks wait; drain only idle workers."""

    def __init__(self, tuning: Tuning, threshold: int) -> None:
        self._tuning = tuning
        self._threshold = threshold

    def decide(self, seen: Observation) -> Decision:
        """Start a worker if the queue is longer than the threshold; drain one if no task waits and it has been idle."""
        tuning = self._tuning
        live = [w for w in seen.workers if w.takes_work]
        starting = sum(w.state == "starting" for w in seen.workers)
        there = len(live) + starting
        decision = Decision(seen.at, seen.ready, seen.in_flight, len(live), starting, there, "hold", "in between")
        if seen.ready is None:
            return replace(decision, reason=_BLIND_REASON)
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
