"""Events and actions: what the supervisor is told of its slots, and what it wants done about them."""

from __future__ import annotations

from dataclasses import dataclass

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
    """The process in this slot ended: exit code, or minus the signal.

    Attributes:
        cordoned: Its device is not fit for another.
        mid_upgrade: It ended before it was ready, while the packages that it imports were being replaced.
        announced: The worker itself said that it would end with this code; else the code means nothing but a crash.
        at_work: It was ready and ran a task, which is blamed for this death.
        answered: It had answered a task before.
        by_message: A time limit that came with its message ended it.
    """

    slot: str
    code: int
    cordoned: bool = False
    mid_upgrade: bool = False
    announced: bool = True
    at_work: bool = False
    answered: bool = False
    by_message: bool = False


@dataclass(frozen=True)
class Added:
    """One more slot is wanted, or one that is empty is wanted again."""

    slot: str


@dataclass(frozen=True)
class Fenced:
    """The worker in this slot lost its lease: what it held runs elsewhere, and what it does is void."""

    slot: str


@dataclass(frozen=True)
class Terminated:
    """Somebody revoked the task that the worker in this slot runs, and wants it ended at once."""

    slot: str


@dataclass(frozen=True)
class Overdue:
    """The worker in this slot lives, so many seconds after its hard time limit should have ended it."""

    slot: str
    by_s: float


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


Event = Began | Added | Ready | Died | Fenced | Terminated | Overdue | Ordered | StopAsked | Tick


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
class GiveBackAndEnd:
    """Give the running task back and end (SIGQUIT)."""

    slot: str


@dataclass(frozen=True)
class Abort:
    """End the process, its stacks first (SIGABRT)."""

    slot: str


@dataclass(frozen=True)
class Abandon:
    """Give its work to others and its device to nobody: not even SIGKILL ends it."""

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
    """The slot is left empty: its worker is misconfigured (`deaths` is 1 then), or died too often in a row."""

    slot: str
    code: int
    deaths: int


Action = Start | Drain | GiveBackAndEnd | Abort | Kill | Abandon | Postponed | GiveUp
