"""Simulation: replays a trace of arrivals against a policy on a virtual clock, so that a day takes about a second."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, takewhile
from typing import Final

from mlq.autoscale.policy.observation import Observation, State, WorkerSample
from mlq.autoscale.policy.policy import Deciding

_UNSCORED_S: Final = 120.0
"""Seconds at the start of a trace that are not judged, because a policy has no history yet."""


@dataclass(frozen=True)
class Task:
    """A task of a trace."""

    #: Arrival (s).
    at: float
    service_s: float


@dataclass(frozen=True)
class World:
    """The conditions of a replay, which the policy cannot choose."""

    cold_start_s: float = 30.0
    #: Seconds between two decisions.
    tick_s: float = 2.0
    #: Longest time (s) that a task should wait.
    target_s: float = 2.0
    #: Workers at the start.
    first: int = 1
    #: Greatest number of workers.
    most: int = 8
    #: (base, slope, most): a forward of b <= most tasks takes base + slope·b seconds. None: tasks run one by one.
    batch: tuple[float, float, int] | None = None
    #: Time (s) of the last decision; None: the last arrival.
    until_s: float | None = None
    #: Tasks that arrive before this time (s) are served and paid for, but not judged.
    unscored_s: float = _UNSCORED_S


@dataclass
class _SimulatedWorker:
    id: str
    began_at: float
    ready_at: float
    state: State = "starting"
    since: float = 0.0
    ended_at: float | None = None
    done: int = 0
    busy_s: float = 0.0
    forwards: list[float] = field(default_factory=lambda: [0.0] * 6)
    held: list[Task] = field(default_factory=list)
    leaving: bool = False


@dataclass(frozen=True)
class Replay:
    """The result of a replay."""

    #: Worker-seconds.
    cost: float
    #: Waits (s) of the judged tasks.
    waits: Sequence[float]
    target_s: float
    #: Workers started and drained.
    starts: int
    stops: int
    #: Time, number of workers and waiting tasks at each tick.
    history: Sequence[tuple[float, int, int]]
    #: Arrivals (s) of the judged tasks, in the order of `waits`.
    arrivals: Sequence[float] = ()

    @property
    def in_time(self) -> float:
        """The share of judged tasks that waited no longer than the target."""
        return sum(w <= self.target_s for w in self.waits) / len(self.waits) if self.waits else 1.0

    @property
    def lateness(self) -> float:
        """The mean time (s) that judged tasks waited beyond the target."""
        return sum(max(0.0, w - self.target_s) for w in self.waits) / len(self.waits) if self.waits else 0.0

    def quantile(self, share: float) -> float:
        """Return the wait (s) that this share of tasks does not exceed."""
        return quantile(self.waits, share)


def quantile(waits: Sequence[float], share: float) -> float:
    """Return the wait that this share of the waits does not exceed; 0 if there are none."""
    ordered = sorted(waits)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class SimulatedQueue:
    """A simulated queue and its workers on a virtual clock. A trace brings the tasks; an autoscaler can observe it."""

    def __init__(
        self,
        tasks: Sequence[Task],
        batch: tuple[float, float, int] | None = None,
        *,
        unscored_s: float = _UNSCORED_S,
    ) -> None:
        self._tasks = tasks
        self._batch = batch
        self._unscored_s = unscored_s
        self._order = count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._queue: deque[Task] = deque()
        self._idle: deque[_SimulatedWorker] = deque()
        self._machines: dict[str, _SimulatedWorker] = {}
        self._now = 0.0
        self.waits: list[float] = []
        self.arrivals: list[float] = []
        self._arrive_next(0)

    def advance(self, until: float) -> None:
        """Run all events up to and including the time `until`."""
        while self._events and self._events[0][0] <= until:
            self._now, _, action = heapq.heappop(self._events)
            action(self._now)

    def observe(self, at: float) -> Observation:
        """Return what an autoscaler observes at this time, as live/signals.py does."""
        there = self._there()
        flying = sum(len(m.held) for m in there)
        oldest = at - self._queue[0].at if self._queue else None
        return Observation(at, len(self._queue), flying, [self._seen(m, at) for m in there], oldest)

    def start(self, at: float, cold_s: float) -> str:
        """Start a worker that is ready after `cold_s`; return its name."""
        machine = _SimulatedWorker(f"w{len(self._machines)}", at, at + cold_s)
        self._machines[machine.id] = machine
        self._at(at + cold_s, partial(self._rest, machine))
        return machine.id

    def drain(self, name: str, at: float) -> None:
        """Let a worker end as soon as its tasks are done."""
        machine = self._machines[name]
        machine.leaving = True
        if machine.state == "idle":
            machine.state, machine.ended_at = "gone", at

    def has_ended(self, name: str) -> bool:
        """Return whether a worker has ended."""
        return self._machines[name].ended_at is not None

    @property
    def workers(self) -> int:
        """The number of workers, including draining ones."""
        return len(self._there())

    @property
    def waiting(self) -> int:
        """The number of waiting tasks."""
        return len(self._queue)

    def cost(self, at_least_until: float) -> float:
        """Return the worker-seconds; a worker that still runs counts until the last event or `at_least_until`."""
        end = max(self._now, at_least_until)
        return sum((end if m.ended_at is None else m.ended_at) - m.began_at for m in self._machines.values())

    def _there(self) -> list[_SimulatedWorker]:
        return [m for m in self._machines.values() if m.ended_at is None]

    def _at(self, at: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), action))

    def _arrive_next(self, index: int) -> None:
        if index < len(self._tasks):
            self._at(self._tasks[index].at, partial(self._arrive, index))

    def _arrive(self, index: int, at: float) -> None:
        self._queue.append(self._tasks[index])
        self._arrive_next(index + 1)
        self._serve(at)

    def _serve(self, at: float) -> None:
        while self._queue and self._idle:
            machine = self._idle.popleft()
            if machine.state != "idle":  # it was drained while it was idle
                continue
            most = self._batch[2] if self._batch else 1
            machine.held = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            machine.state, machine.since = "busy", at
            judged = [task.at for task in machine.held if task.at >= self._unscored_s]
            self.arrivals += judged
            self.waits += [at - came for came in judged]
            self._at(at + self._seconds(machine.held), partial(self._end, machine))

    def _seconds(self, tasks: Sequence[Task]) -> float:
        if self._batch is None:
            return tasks[0].service_s
        base, slope, _ = self._batch
        return base + slope * len(tasks)

    def _end(self, machine: _SimulatedWorker, at: float) -> None:
        rows, seconds = len(machine.held), at - machine.since
        machine.done += rows
        machine.busy_s += seconds
        sums = (1, rows, seconds, rows * rows, rows * seconds, seconds * seconds)
        machine.forwards = [a + b for a, b in zip(machine.forwards, sums, strict=True)]
        machine.held = []
        self._rest(machine, at)

    def _rest(self, machine: _SimulatedWorker, at: float) -> None:
        if machine.leaving:
            machine.state, machine.ended_at = "gone", at
            return
        machine.state, machine.since = "idle", at
        self._idle.append(machine)
        self._serve(at)

    def _seen(self, machine: _SimulatedWorker, at: float) -> WorkerSample:
        state: State = "draining" if machine.leaving else machine.state
        took = machine.ready_at - machine.began_at
        return WorkerSample(
            id=machine.id,
            state=state,
            done=machine.done,
            all_done=machine.done,
            busy_s=machine.busy_s,
            age_s=at - machine.began_at,
            running_s=at - machine.since if machine.state == "busy" else 0.0,
            rows_done=machine.done,
            forwards=tuple(machine.forwards),
            max_batch_size=self._batch[2] if self._batch else 1,
            ready_s=took if took and machine.state != "starting" else None,
            idle_s=at - machine.since if machine.state == "idle" else 0.0,
        )


def replay(tasks: Sequence[Task], policy: Deciding, world: World) -> Replay:
    """Run a trace through a policy.

    Tasks go to idle workers in turn, in the order of arrival; a running task is never stopped. Tasks that still run at
    the end are finished and paid for.
    """
    service = SimulatedQueue(tasks, world.batch, unscored_s=world.unscored_s)
    until = world.until_s if world.until_s is not None else (tasks[-1].at if tasks else 0.0)
    history: list[tuple[float, int, int]] = []
    starts = stops = 0
    for _ in range(world.first):
        service.start(0.0, cold_s=0.0)
    for at in ticks(world.tick_s, until):
        service.advance(at)
        history.append((at, service.workers, service.waiting))
        decision = policy.decide(service.observe(at))
        for _ in range(min(decision.start, world.most - service.workers)):
            service.start(at, world.cold_start_s)
            starts += 1
        for name in decision.drain:
            service.drain(name, at)
            stops += 1
    service.advance(math.inf)
    return Replay(service.cost(until), service.waits, world.target_s, starts, stops, history, service.arrivals)


def ticks(every_s: float, until: float) -> Iterator[float]:
    """Yield the times of all ticks."""
    return takewhile(lambda at: at <= until, count(0.0, every_s))
