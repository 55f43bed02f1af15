"""The supervisor's decisions, pure: events in, actions out. Nothing here knows a process or a clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

STABLE_S: Final = 60.0
"""A worker that was ready for so long is healthy: its next death starts the count anew."""

MAX_DEATHS: Final = 5
"""Deaths in a row after which a slot is given up as a crash loop."""

LONGEST_PAUSE_S: Final = 30.0
LETTING_GO_S: Final = 2.0
"""How long a worker that was told to give its task back may take, before it is killed."""

MISCONFIGURED: Final = 3
"""The exit code of a worker that will fail the same way again: no model, one that does not load."""

BROKER_AWAY: Final = 4
"""The exit code of a worker that found no broker: no fault of its own, so it is tried for as long as it takes."""


# Events: what happened.


@dataclass(frozen=True)
class Began:
    """The supervisor starts."""


@dataclass(frozen=True)
class Ready:
    """The worker in this slot has its model and takes work."""

    slot: str


@dataclass(frozen=True)
class Died:
    """The process in this slot ended: exit code, or minus the signal."""

    slot: str
    code: int


@dataclass(frozen=True)
class Added:
    """One more slot is wanted, or one that is empty is wanted again."""

    slot: str


@dataclass(frozen=True)
class Fenced:
    """The worker in this slot lost its lease: what it held runs elsewhere, and what it does is void."""

    slot: str


@dataclass(frozen=True)
class Ordered:
    """An operator wants the worker in this slot to end, giving back after `seconds` what still runs (None: never).

    With `again` the slot starts anew; without, it stays empty.
    """

    slot: str
    again: bool
    seconds: float | None


@dataclass(frozen=True)
class StopAsked:
    """Ctrl-C, SIGTERM: the first asks to drain, the second to let go at once."""


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = Began | Added | Ready | Died | Fenced | Ordered | StopAsked | Tick


# Actions: what the shell must do.


@dataclass(frozen=True)
class Start:
    """Start a process in this slot, now."""

    slot: str


@dataclass(frozen=True)
class Drain:
    """Finish the running task, take no more (SIGTERM)."""

    slot: str


@dataclass(frozen=True)
class LetGo:
    """Give the running task back and end (SIGQUIT)."""

    slot: str


@dataclass(frozen=True)
class Kill:
    """End the process (SIGKILL)."""

    slot: str


@dataclass(frozen=True)
class Postponed:
    """The slot's worker died and is started again in so many seconds."""

    slot: str
    code: int
    pause_s: float


@dataclass(frozen=True)
class GiveUp:
    """The slot is left empty: its worker is misconfigured, or died too often in a row."""

    slot: str
    code: int
    deaths: int


Action = Start | Drain | LetGo | Kill | Postponed | GiveUp


class _Phase(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass
class _Slot:
    name: str
    phase: _Phase = _Phase.WAITING
    start_at: float = 0.0
    ready_at: float | None = None
    deaths: int = 0
    code: int = 0
    starts: int = 0
    ordered: Ordered | None = None
    let_go_at: float | None = None
    kill_at: float | None = None

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
        return all(s.phase in {_Phase.FAILED, _Phase.STOPPED} for s in self._slots.values())

    @property
    def stops(self) -> int:
        """How often it was asked to stop."""
        return self._stops

    @property
    def failed(self) -> dict[str, int]:
        """Slots that were given up, with the last exit code of each."""
        return {s.name: s.code for s in self._slots.values() if s.phase is _Phase.FAILED}

    @property
    def empty(self) -> dict[str, bool]:
        """Slots without a process that are still wanted: whether each was given up, or waits for its next start."""
        waiting = {_Phase.FAILED: True, _Phase.WAITING: False}
        return {s.name: waiting[s.phase] for s in self._slots.values() if s.phase in waiting}

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
                self._slots[slot].ready_at = at
                return []
            case Died(slot, code):
                return self._died(self._slots[slot], code, at)
            case Added(slot):
                return self._add(slot, at)
            case Fenced(slot):
                return [Kill(slot)] if slot in self.running else []
            case Ordered(slot):
                return self._order(self._slots[slot], event, at)
            case StopAsked():
                return self._stop(at)
            case Began() | Tick():
                return self._due(at)

    def _add(self, name: str, at: float) -> list[Action]:
        if self._stops or name in self.running:
            return []
        # Replaced as a whole: other threads read the slots while they are told what became of the workers.
        self._slots = {**self._slots, name: _Slot(name, start_at=at)}
        return self._due(at)

    def _died(self, slot: _Slot, code: int, at: float) -> list[Action]:
        was_healthy = slot.ready_at is not None and at - slot.ready_at >= STABLE_S
        slot.deaths = 1 if was_healthy else slot.deaths + 1
        slot.ready_at, slot.code = None, code
        slot.let_go_at = slot.kill_at = None
        ordered, slot.ordered = slot.ordered, None
        if self._stops or (ordered and not ordered.again):
            slot.phase = _Phase.STOPPED
            return []
        if ordered:
            return self._start_anew(slot, at)
        if code == MISCONFIGURED or (slot.deaths > MAX_DEATHS and code != BROKER_AWAY):
            slot.phase = _Phase.FAILED
            return [GiveUp(slot.name, code, slot.deaths)]
        pause = _pause(slot.deaths)
        slot.phase, slot.start_at = _Phase.WAITING, at + pause
        return [Postponed(slot.name, code, pause), *self._due(at)]

    def _start_anew(self, slot: _Slot, at: float) -> list[Action]:
        slot.deaths, slot.phase, slot.start_at = 0, _Phase.WAITING, at
        return self._due(at)

    def _order(self, slot: _Slot, order: Ordered, at: float) -> list[Action]:
        if self._stops or slot.phase is _Phase.STOPPED:
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
            return [LetGo(slot.name)]
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
