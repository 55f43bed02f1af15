"""The supervisor's decisions, pure: events in, actions out. Nothing here knows a process or a clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mlq.supervisor.events import (
    Abandon,
    Abort,
    Action,
    Added,
    Began,
    Died,
    Drain,
    Event,
    Fenced,
    GiveBackAndEnd,
    GiveUp,
    Kill,
    Ordered,
    Overdue,
    Postponed,
    Ready,
    Start,
    StopAsked,
    Terminated,
    Tick,
)

STABLE_S: Final = 60.0
"""A worker that was ready for so long is healthy: its next death starts the count anew."""

MAX_DEATHS: Final = 5
"""Deaths in a row after which a slot is given up as a crash loop."""

MAX_DEATHS_AT_WORK: Final = 20
"""The same for deaths while it ran a task: messages are to blame for the first of them, and become dead letters."""

LONGEST_PAUSE_S: Final = 30.0
LONGEST_PAUSE_AT_WORK_S: Final = 2.0
LETTING_GO_S: Final = 2.0
"""How long a worker that was told to give its task back may take, before it is killed."""

_OVERDUE_S: Final = (2.0, 5.0, 10.0)
"""So long after its hard time limit a worker that still lives is aborted, is killed, and is given up for good."""

REPLACED: Final = frozenset({75, 76})
"""Exit codes of a worker that has done its share, or was taken for dead: it is replaced, and that is no death."""

MISCONFIGURED: Final = 3
"""The exit code of a worker that will fail the same way again: no model, one that does not load."""

BROKER_AWAY: Final = 4
"""The exit code of a worker that found no broker."""

SYSTEM_REFUSES: Final = 71
"""Stands for the exit code of a worker for which there was no process, memory or descriptor (sysexits' EX_OSERR)."""

UNASKED: Final = 0
"""The exit code of a worker that ended as if told to. If its supervisor did not tell it, some other process did."""

_NO_FAULT: Final = frozenset({BROKER_AWAY, SYSTEM_REFUSES})
"""No fault of the worker's own: it is tried for as long as it takes, and what it does later is judged by itself."""


class _Phase(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    FAILED = "failed"
    ABANDONED = "abandoned"
    STOPPED = "stopped"


@dataclass
class _Slot:
    name: str
    phase: _Phase = _Phase.WAITING
    start_at: float = 0.0
    ready_at: float | None = None
    deaths: int = 0
    deaths_at_work: int = 0
    waits: int = 0
    unasked: int = 0
    code: int = 0
    is_misconfigured: bool = False
    starts: int = 0
    ordered: Ordered | None = None
    let_go_at: float | None = None
    kill_at: float | None = None
    overdue_steps: int = 0
    overdue_at: float = 0.0

    @property
    def wake_at(self) -> float | None:
        """When something is to be done about it."""
        start_at = self.start_at if self.phase is _Phase.WAITING else None
        return min((t for t in (start_at, self.let_go_at, self.kill_at) if t is not None), default=None)


class Supervisor:
    """Keeps one process in each slot. A slot's deaths change that slot alone.

    `drain_s` is how long a drain may take before what still runs is given back; None: as long as it takes.
    With `open_ended` it does not end with its last worker: slots may still be added.
    """

    def __init__(self, slots: Iterable[str], drain_s: float | None = None, *, open_ended: bool = False) -> None:
        self._slots = {name: _Slot(name) for name in slots}
        self._drain_s = drain_s
        self._open_ended = open_ended
        self._stops = 0

    @property
    def finished(self) -> bool:
        """Whether nothing runs and nothing will be started."""
        if self._open_ended and not self._stops:
            return False
        return all(s.phase in {_Phase.FAILED, _Phase.ABANDONED, _Phase.STOPPED} for s in self._slots.values())

    def settle(self) -> None:
        """Take no more slots: from now on it ends with its last worker."""
        self._open_ended = False

    @property
    def stops(self) -> int:
        """How often it was asked to stop."""
        return self._stops

    @property
    def failed(self) -> dict[str, int]:
        """Slots that were given up, with the last exit code of each."""
        return {s.name: s.code for s in self._slots.values() if s.phase in {_Phase.FAILED, _Phase.ABANDONED}}

    @property
    def is_misconfigured(self) -> bool:
        """Whether every slot that was given up has a worker that will fail the same way again."""
        return all(s.is_misconfigured for s in self._slots.values() if s.name in self.failed)

    @property
    def empty(self) -> dict[str, bool]:
        """Slots without a process that are still wanted: whether each was given up, or waits for its next start."""
        waiting = {_Phase.FAILED: True, _Phase.ABANDONED: True, _Phase.WAITING: False}
        return {s.name: waiting[s.phase] for s in self._slots.values() if s.phase in waiting}

    @property
    def vacant(self) -> dict[str, bool]:
        """Slots that have no process and want none: whether each was given up, or stopped as it was told.

        One that was abandoned still has its process, and so its device.
        """
        ended = {_Phase.FAILED: True, _Phase.STOPPED: False}
        return {s.name: ended[s.phase] for s in self._slots.values() if s.phase in ended}

    def is_draining(self, slot: str) -> bool:
        """Whether the worker in this slot was told to end."""
        return bool(self._stops) or self._slots[slot].ordered is not None

    def restarts(self, slot: str) -> int:
        """Count the processes that a slot had before the one that it has, or last had."""
        return max(0, self._slots[slot].starts - 1)

    def wake_at(self) -> float | None:
        """When a Tick is due, on the clock that `step` is given."""
        return min((at for s in self._slots.values() if (at := s.wake_at) is not None), default=None)

    def step(self, event: Event, at: float) -> list[Action]:  # noqa: PLR0911 (a return for each kind of event)
        """Take in what happened at `at` (seconds, monotonic) and say what to do."""
        match event:
            case Ready(slot):
                self._slots[slot].ready_at, self._slots[slot].waits = at, 0
                return []
            case Died(slot):
                return self._died(self._slots[slot], event, at)
            case Added(slot):
                return self._add(slot, at)
            case Fenced(slot) | Terminated(slot):
                return self._replace(self._slots[slot])
            case Overdue(slot, by_s):
                return self._overdue(self._slots[slot], by_s, at)
            case Ordered(slot):
                return self._order(self._slots[slot], event, at)
            case StopAsked():
                return self._stop(at)
            case Began() | Tick():
                return self._due(at)

    def _add(self, name: str, at: float) -> list[Action]:
        has_process = name in self._slots and self._slots[name].phase in {_Phase.RUNNING, _Phase.ABANDONED}
        if self._stops or has_process:
            return []
        # Replaced as a whole: other threads read the slots while they are told what became of the workers.
        self._slots = {**self._slots, name: _Slot(name, start_at=at)}
        return self._due(at)

    def _died(self, slot: _Slot, death: Died, at: float) -> list[Action]:
        code = death.code
        if slot.phase is _Phase.ABANDONED:  # at last; its device stays unused until an operator has looked
            slot.phase = _Phase.FAILED
            return []
        pauses = self._count(slot, death, at)
        slot.ready_at, slot.code = None, code
        slot.is_misconfigured = death.announced and code == MISCONFIGURED and not death.mid_upgrade
        slot.let_go_at = slot.kill_at = None
        slot.overdue_steps = 0
        ordered, slot.ordered = slot.ordered, None
        if self._stops or (ordered and not ordered.again):
            slot.phase = _Phase.STOPPED
            return []
        if ordered or (death.announced and code in REPLACED and not death.cordoned):
            return self._start_anew(slot, at)
        is_loop = slot.deaths > MAX_DEATHS or slot.deaths_at_work > MAX_DEATHS_AT_WORK
        deaths = slot.deaths + slot.deaths_at_work
        if death.cordoned or slot.is_misconfigured or is_loop:
            slot.phase = _Phase.FAILED
            return [GiveUp(slot.name, code, 1 if slot.is_misconfigured else deaths)]
        pause = _pause(pauses)
        if death.at_work:  # the message that did it is a dead letter soon, and others wait
            pause = min(pause, LONGEST_PAUSE_AT_WORK_S)
        slot.phase, slot.start_at = _Phase.WAITING, at + pause
        return [Postponed(slot.name, code, pause), *self._due(at)]

    @staticmethod
    def _count(slot: _Slot, death: Died, at: float) -> int:
        """Count a death in a row, or an end that is none; give the number with which the next pause grows.

        A worker that was healthy before, or answered anything, starts the count of deaths anew. An end that some other
        process asked for, by a control message or a signal, and a death by a limit that came with a message say nothing
        of the worker: any number of them gives no slot up. The former are counted by themselves, so that they cannot
        make it start without a pause; a start after the latter costs its sender a message each time.
        """
        was_stable = slot.ready_at is not None and at - slot.ready_at >= STABLE_S
        if death.mid_upgrade or (death.announced and death.code in _NO_FAULT):
            slot.waits += 1
            return slot.waits
        if death.announced and death.code == UNASKED:
            slot.unasked = 1 if was_stable else slot.unasked + 1
            return slot.unasked
        if death.answered or was_stable:
            slot.deaths = slot.deaths_at_work = 0
        if death.by_message:
            return 0
        if death.at_work:
            slot.deaths_at_work += 1
        else:
            slot.deaths += 1
        return slot.deaths + slot.deaths_at_work

    @staticmethod
    def _replace(slot: _Slot) -> list[Action]:
        """Kill, as if an operator had ordered a restart: nobody is blamed, and the next one starts at once.

        Its task was revoked; or its host or Redis had been away for so long that its work was given to others.
        """
        if slot.phase is not _Phase.RUNNING:
            return []
        if slot.ordered is None:
            slot.ordered = Ordered(slot.name, again=True, seconds=0.0)
        return [Kill(slot.name)]

    @staticmethod
    def _overdue(slot: _Slot, by_s: float, at: float) -> list[Action]:
        """Do what faulthandler in the worker should have done, a harder thing each time.

        One step after another, each with its time: a host that slept finds everything overdue when it wakes up.
        """
        step = slot.overdue_steps
        if slot.phase is not _Phase.RUNNING or by_s < _OVERDUE_S[step]:
            return []
        if step and at - slot.overdue_at < _OVERDUE_S[step] - _OVERDUE_S[step - 1]:
            return []
        slot.overdue_steps, slot.overdue_at = step + 1, at
        if step == len(_OVERDUE_S) - 1:
            slot.phase = _Phase.ABANDONED
            return [Abandon(slot.name)]
        return [Kill(slot.name) if step else Abort(slot.name)]

    def _start_anew(self, slot: _Slot, at: float) -> list[Action]:
        slot.deaths = slot.deaths_at_work = 0
        slot.phase, slot.start_at = _Phase.WAITING, at
        return self._due(at)

    def _order(self, slot: _Slot, order: Ordered, at: float) -> list[Action]:
        if self._stops or slot.phase in {_Phase.STOPPED, _Phase.ABANDONED}:
            return []  # what it is asked for happens anyway, or is not for this incarnation to do
        if slot.phase is _Phase.RUNNING:
            slot.ordered = order
            return self._drain(slot, at, order.seconds)
        if order.again:
            return self._start_anew(slot, at)
        slot.phase = _Phase.STOPPED
        return []

    @staticmethod
    def _drain(slot: _Slot, at: float, seconds: float | None) -> list[Action]:
        slot.let_go_at = None if seconds is None else at + seconds
        return [Drain(slot.name)]

    def _due(self, at: float) -> list[Action]:
        return [action for slot in self._slots.values() for action in self._due_of(slot, at)]

    @staticmethod
    def _due_of(slot: _Slot, at: float) -> list[Action]:
        if slot.phase is _Phase.WAITING and slot.start_at <= at:
            slot.phase, slot.starts = _Phase.RUNNING, slot.starts + 1
            return [Start(slot.name)]
        if slot.let_go_at is not None and slot.let_go_at <= at:
            slot.let_go_at, slot.kill_at = None, at + LETTING_GO_S
            return [GiveBackAndEnd(slot.name)]
        if slot.kill_at is not None and slot.kill_at <= at:
            slot.kill_at = None
            return [Kill(slot.name)]
        return []

    def _stop(self, at: float) -> list[Action]:
        self._stops += 1
        for slot in self._slots.values():
            if slot.phase is _Phase.WAITING:
                slot.phase = _Phase.STOPPED
        running = [self._slots[name] for name in self.running]
        if self._stops == 1:
            return [action for slot in running for action in self._drain(slot, at, self._drain_s)]
        if self._stops == 2:  # noqa: PLR2004 (the second signal)
            for slot in running:
                slot.let_go_at = at
            return self._due(at)
        return [Kill(slot.name) for slot in running]

    @property
    def running(self) -> list[str]:
        """Slots that have a process."""
        return [s.name for s in self._slots.values() if s.phase is _Phase.RUNNING]


def _pause(deaths: int) -> float:
    """Start again at once after the first death in a row, then after 1, 2, 4 … seconds."""
    return 0.0 if deaths <= 1 else float(min(LONGEST_PAUSE_S, 2 ** (deaths - 2)))
