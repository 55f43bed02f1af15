"""The supervisor's decisions: events in, actions out. Pure: no processes, no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mlq.exit_codes import ExitCode
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
"""Seconds after which a ready worker counts as healthy: its next death starts a new count."""

MAX_DEATHS: Final = 5
"""Deaths in a row that are tolerated; one more is a crash loop, and the slot is given up."""

MAX_DEATHS_AT_WORK: Final = 20
"""The same limit for deaths during a task. It is higher because messages cause the first of them, and each such message
becomes a dead letter after `worker.max_crashes`."""

LONGEST_PAUSE_S: Final = 30.0
"""Longest pause before a restart, in seconds."""

LONGEST_PAUSE_AT_WORK_S: Final = 2.0
"""Longest pause before a restart after a death during a task, in seconds."""

GIVE_BACK_S: Final = 2.0
"""Seconds that a worker has to give its task back after SIGQUIT; then it is killed."""

_OVERDUE_S: Final = (2.0, 5.0, 10.0)
"""Seconds after its hard time limit at which a worker that still runs is aborted, killed, and abandoned."""

REPLACED: Final = frozenset({ExitCode.RECYCLED, ExitCode.FENCED})
"""Exit codes of a recycled and of a fenced worker: it is replaced, and this does not count as a death."""

_NO_FAULT: Final = frozenset({ExitCode.BROKER, ExitCode.SYSTEM_REFUSED})
"""Exit codes that are not the worker's fault. It is started again without a limit, and they do not count as deaths."""


class Phase(Enum):
    """What a slot is doing."""

    #: It has no process, and gets one.
    WAITING = "waiting"
    RUNNING = "running"
    #: It was given up.
    FAILED = "failed"
    #: It was given up, and its process survives SIGKILL.
    ABANDONED = "abandoned"
    #: Its worker ended because an operator, or the end of the supervisor, asked for it.
    STOPPED = "stopped"


@dataclass(frozen=True)
class SlotState:
    """A slot at one moment."""

    name: str
    phase: Phase
    #: Its worker was asked to end.
    is_draining: bool
    #: Processes before the present or last one.
    restarts: int


@dataclass
class _Slot:
    """One slot and its worker. All times are seconds on the clock that `step` is given."""

    name: str
    phase: Phase = Phase.WAITING
    #: When the next process is started, in the phase WAITING.
    start_at: float = 0.0
    ready_at: float | None = None
    #: Deaths in a row while no task ran.
    deaths: int = 0
    #: Deaths in a row during a task.
    deaths_at_work: int = 0
    #: Ends in a row that were not the worker's fault.
    blameless_ends: int = 0
    #: Ends in a row that another process asked for.
    stopped_by_others: int = 0
    #: Exit code of the last process, or minus its signal.
    code: int = 0
    is_misconfigured: bool = False
    #: Processes started so far.
    starts: int = 0
    #: The order that the running worker is obeying.
    ordered: Ordered | None = None
    #: When a draining worker is asked to give its task back.
    give_back_at: float | None = None
    kill_at: float | None = None
    #: Steps of `_OVERDUE_S` already taken, and the time of the last one.
    overdue_steps: int = 0
    overdue_at: float = 0.0

    @property
    def wake_at(self) -> float | None:
        """When the next action for this slot is due."""
        start_at = self.start_at if self.phase is Phase.WAITING else None
        return min((t for t in (start_at, self.give_back_at, self.kill_at) if t is not None), default=None)


class Supervisor:
    """The state of all slots: each slot is to have one running process. Slots do not affect each other.

    Args:
        slots: Names of the slots.
        drain_s: Seconds that a drain may take; then running tasks are given back. None: no limit.
        open_ended: Slots may be added later, so the supervisor does not finish with its last worker.
    """

    def __init__(self, slots: Iterable[str], drain_s: float | None = None, *, open_ended: bool = False) -> None:
        self._slots = {name: _Slot(name) for name in slots}
        self._drain_s = drain_s
        self._open_ended = open_ended
        self._stops = 0

    @property
    def finished(self) -> bool:
        """Whether no worker runs and none will be started."""
        if self._open_ended and not self._stops:
            return False
        return all(s.phase in {Phase.FAILED, Phase.ABANDONED, Phase.STOPPED} for s in self._slots.values())

    def settle(self) -> None:
        """Accept no more slots: from now on the supervisor finishes with its last worker."""
        self._open_ended = False

    @property
    def stops(self) -> int:
        """How many times it was asked to stop."""
        return self._stops

    @property
    def failed(self) -> dict[str, int]:
        """The slots that were given up, with the last exit code of each."""
        return {s.name: s.code for s in self._slots.values() if s.phase in {Phase.FAILED, Phase.ABANDONED}}

    @property
    def is_misconfigured(self) -> bool:
        """Whether every slot that was given up has a misconfigured worker."""
        return all(s.is_misconfigured for s in self._slots.values() if s.name in self.failed)

    def slots(self) -> tuple[SlotState, ...]:
        """Return the present state of each slot."""
        return tuple(
            SlotState(s.name, s.phase, self.is_draining(s.name), max(0, s.starts - 1)) for s in self._slots.values()
        )

    def is_draining(self, slot: str) -> bool:
        """Whether the worker in this slot was asked to end."""
        return bool(self._stops) or self._slots[slot].ordered is not None

    def wake_at(self) -> float | None:
        """Return when the next Tick is due, on the clock that `step` is given."""
        return min((at for s in self._slots.values() if (at := s.wake_at) is not None), default=None)

    def step(self, event: Event, at: float) -> list[Action]:  # noqa: PLR0911 (a return for each kind of event)
        """Take in an event that happened at `at` (seconds, monotonic) and return the actions to apply."""
        match event:
            case Ready(slot):
                self._slots[slot].ready_at, self._slots[slot].blameless_ends = at, 0
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
        has_process = name in self._slots and self._slots[name].phase in {Phase.RUNNING, Phase.ABANDONED}
        if self._stops or has_process:
            return []
        self._slots[name] = _Slot(name, start_at=at)
        return self._due(at)

    def _died(self, slot: _Slot, death: Died, at: float) -> list[Action]:
        code = death.code
        # An abandoned process has ended at last. Its device stays unused until an operator has looked at it.
        if slot.phase is Phase.ABANDONED:
            slot.phase = Phase.FAILED
            return []
        pauses = self._count(slot, death, at)
        slot.ready_at, slot.code = None, code
        slot.is_misconfigured = death.announced and code == ExitCode.INVALID and not death.mid_upgrade
        slot.give_back_at = slot.kill_at = None
        slot.overdue_steps = 0
        ordered, slot.ordered = slot.ordered, None
        if self._stops or (ordered and not ordered.again):
            slot.phase = Phase.STOPPED
            return []
        if ordered or (death.announced and code in REPLACED and not death.cordoned):
            return self._start_anew(slot, at)
        is_loop = slot.deaths > MAX_DEATHS or slot.deaths_at_work > MAX_DEATHS_AT_WORK
        deaths = slot.deaths + slot.deaths_at_work
        if death.cordoned or slot.is_misconfigured or is_loop:
            slot.phase = Phase.FAILED
            return [GiveUp(slot.name, code, 1 if slot.is_misconfigured else deaths)]
        pause = _pause(pauses)
        if death.at_work:  # the message that killed the worker is soon a dead letter, and other messages wait
            pause = min(pause, LONGEST_PAUSE_AT_WORK_S)
        slot.phase, slot.start_at = Phase.WAITING, at + pause
        return [Postponed(slot.name, code, pause), *self._due(at)]

    @staticmethod
    def _count(slot: _Slot, death: Died, at: float) -> int:
        """Count this end of a worker, and return the number that determines the next pause.

        The count of deaths starts anew if the worker was healthy before or had answered a task. Two kinds of ends say
        nothing about the worker, so they never give up a slot: an end that another process asked for, by a control
        message or a signal, and a death by a time limit that came with a message. Ends of the first kind have their own
        count, so that they cannot cause restarts without a pause. The second kind needs no pause: each restart costs
        the sender a message.
        """
        was_stable = slot.ready_at is not None and at - slot.ready_at >= STABLE_S
        if death.mid_upgrade or (death.announced and death.code in _NO_FAULT):
            slot.blameless_ends += 1
            return slot.blameless_ends
        if death.announced and death.code == ExitCode.DONE:  # another process asked it to stop
            slot.stopped_by_others = 1 if was_stable else slot.stopped_by_others + 1
            return slot.stopped_by_others
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
        """Kill the worker and start the next one at once, as if an operator had ordered a restart.

        Its task was revoked, or it lost its lease because its host or Redis was away for too long. No message is to
        blame for this end.
        """
        if slot.phase is not Phase.RUNNING:
            return []
        if slot.ordered is None:
            slot.ordered = Ordered(slot.name, again=True, seconds=0.0)
        return [Kill(slot.name)]

    @staticmethod
    def _overdue(slot: _Slot, by_s: float, at: float) -> list[Action]:
        """Abort, then kill, then abandon a worker whose own faulthandler did not end it at its hard time limit.

        Each step waits its full time after the step before: after a suspended host resumes, every limit has passed at
        once.
        """
        step = slot.overdue_steps
        if slot.phase is not Phase.RUNNING or by_s < _OVERDUE_S[step]:
            return []
        if step and at - slot.overdue_at < _OVERDUE_S[step] - _OVERDUE_S[step - 1]:
            return []
        slot.overdue_steps, slot.overdue_at = step + 1, at
        if step == len(_OVERDUE_S) - 1:
            slot.phase = Phase.ABANDONED
            return [Abandon(slot.name)]
        return [Kill(slot.name) if step else Abort(slot.name)]

    def _start_anew(self, slot: _Slot, at: float) -> list[Action]:
        slot.deaths = slot.deaths_at_work = 0
        slot.phase, slot.start_at = Phase.WAITING, at
        return self._due(at)

    def _order(self, slot: _Slot, order: Ordered, at: float) -> list[Action]:
        if self._stops or slot.phase in {Phase.STOPPED, Phase.ABANDONED}:
            return []  # the worker stops in any case, or it is not the process that the order names
        if slot.phase is Phase.RUNNING:
            slot.ordered = order
            return self._drain(slot, at, order.seconds)
        if order.again:
            return self._start_anew(slot, at)
        slot.phase = Phase.STOPPED
        return []

    @staticmethod
    def _drain(slot: _Slot, at: float, seconds: float | None) -> list[Action]:
        slot.give_back_at = None if seconds is None else at + seconds
        return [Drain(slot.name)]

    def _due(self, at: float) -> list[Action]:
        return [action for slot in self._slots.values() for action in self._due_of(slot, at)]

    @staticmethod
    def _due_of(slot: _Slot, at: float) -> list[Action]:
        if slot.phase is Phase.WAITING and slot.start_at <= at:
            slot.phase, slot.starts = Phase.RUNNING, slot.starts + 1
            return [Start(slot.name)]
        if slot.give_back_at is not None and slot.give_back_at <= at:
            slot.give_back_at, slot.kill_at = None, at + GIVE_BACK_S
            return [GiveBackAndEnd(slot.name)]
        if slot.kill_at is not None and slot.kill_at <= at:
            slot.kill_at = None
            return [Kill(slot.name)]
        return []

    def _stop(self, at: float) -> list[Action]:
        self._stops += 1
        for slot in self._slots.values():
            if slot.phase is Phase.WAITING:
                slot.phase = Phase.STOPPED
        running = [self._slots[name] for name in self.running]
        if self._stops == 1:
            return [action for slot in running for action in self._drain(slot, at, self._drain_s)]
        if self._stops == 2:  # noqa: PLR2004 (the second signal)
            for slot in running:
                slot.give_back_at = at
            return self._due(at)
        return [Kill(slot.name) for slot in running]

    @property
    def running(self) -> list[str]:
        """The slots that have a process."""
        return [s.name for s in self._slots.values() if s.phase is Phase.RUNNING]


def _pause(deaths: int) -> float:
    """Return the pause before the next start: none after the first death in a row, then 1, 2, 4 … seconds."""
    return 0.0 if deaths <= 1 else float(min(LONGEST_PAUSE_S, 2 ** (deaths - 2)))
