"""Events and actions: what happened to the supervisor's slots, and what the event loop has to do about it."""

from __future__ import annotations

from dataclasses import dataclass

# Events: what happened.


@dataclass(frozen=True)
class Began:
    """The supervisor starts."""


@dataclass(frozen=True)
class Ready:
    """The worker in this slot has loaded its model and takes work."""

    slot: str


@dataclass(frozen=True)
class Died:
    """The process in this slot ended.

    Attributes:
        code: Exit code, or minus the signal.
        cordoned: The device has a fault, so no other worker may start on it.
        mid_upgrade: The worker ended before it was ready, while the packages that it imports were being replaced.
        announced: The worker itself announced this exit code. A code that was not announced means a crash.
        at_work: The worker was ready and ran a task, which is to blame for this death.
        answered: The worker had answered a task before.
        by_message: A time limit that came with the message ended the worker.
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
    """One more slot needs a worker, or an empty one needs a worker again."""

    slot: str


@dataclass(frozen=True)
class Fenced:
    """The worker in this slot lost its lease: its claims are queued again, and its results are refused."""

    slot: str


@dataclass(frozen=True)
class Terminated:
    """The task that the worker in this slot runs was revoked with `terminate`: the worker has to end at once."""

    slot: str


@dataclass(frozen=True)
class Overdue:
    """The worker in this slot still runs `by_s` seconds after its hard time limit should have ended it."""

    slot: str
    by_s: float


@dataclass(frozen=True)
class Ordered:
    """An operator ordered the worker in this slot to drain.

    Attributes:
        again: Start a new worker in the slot afterwards; otherwise the slot stays empty.
        seconds: Give a task that still runs back after this time; None: never.
    """

    slot: str
    again: bool
    seconds: float | None


@dataclass(frozen=True)
class StopAsked:
    """The supervisor received Ctrl-C or SIGTERM: drain; at the second, give tasks back; at the third, kill."""


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = Began | Added | Ready | Died | Fenced | Terminated | Overdue | Ordered | StopAsked | Tick


# Actions: what the event loop has to do.


@dataclass(frozen=True)
class Start:
    """Start a process in this slot."""

    slot: str


@dataclass(frozen=True)
class Drain:
    """Let the worker finish its task and take no more (SIGTERM)."""

    slot: str


@dataclass(frozen=True)
class GiveBackAndEnd:
    """Let the worker give its task back and end (SIGQUIT)."""

    slot: str


@dataclass(frozen=True)
class Abort:
    """End the process after it has written its stacks to the log (SIGABRT)."""

    slot: str


@dataclass(frozen=True)
class Abandon:
    """Give up a process that survives SIGKILL: its claims go to other workers, its device stays unused."""

    slot: str


@dataclass(frozen=True)
class Kill:
    """End the process (SIGKILL)."""

    slot: str


@dataclass(frozen=True)
class Postponed:
    """The worker in this slot died and is started again in `pause_s` seconds."""

    slot: str
    code: int
    pause_s: float


@dataclass(frozen=True)
class GiveUp:
    """The slot stays empty: its worker is misconfigured (`deaths` is 1 then), or died too many times in a row."""

    slot: str
    code: int
    deaths: int


Action = Start | Drain | GiveBackAndEnd | Abort | Kill | Abandon | Postponed | GiveUp
