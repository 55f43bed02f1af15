"""News: what the supervisor reports to the terminal and to the log files, and its text."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from mlq.supervisor.events import Postponed


@dataclass(frozen=True)
class Planned:
    """These workers are about to be started."""

    slots: Sequence[str]


@dataclass(frozen=True)
class BrokerFound:
    """The broker answers."""

    #: Its address, without a password.
    shown: str
    #: The setting that named it.
    origin: str


@dataclass(frozen=True)
class BrokerAwaited:
    """The broker does not answer yet, for this reason."""

    reason: str


@dataclass(frozen=True)
class Warned:
    """Something needs an operator's attention, and work goes on."""

    what: str


@dataclass(frozen=True)
class Logged:
    """A worker wrote a line to its log."""

    slot: str
    line: str


@dataclass(frozen=True)
class Started:
    """A worker's process runs; its model is not loaded yet."""

    slot: str
    pid: int
    device: str


@dataclass(frozen=True)
class BecameReady:
    """A worker takes work, `seconds` after its process was started."""

    slot: str
    seconds: float


@dataclass(frozen=True)
class GaveUp:
    """A slot stays empty: its worker failed too many times, is misconfigured, or its device has a fault."""

    slot: str
    #: Exit code of the last process, or minus its signal.
    code: int
    #: Deaths in a row; 1 for a misconfigured worker.
    deaths: int
    #: What the worker wrote last.
    last_lines: Sequence[str]
    #: The fault of its device, if it has one.
    cordoned: str | None = None


@dataclass(frozen=True)
class Stopping:
    """The supervisor was asked to stop, for the `times`-th time, while the workers in these slots were running."""

    times: int
    running: Sequence[str]


News = Planned | BrokerFound | BrokerAwaited | Warned | Logged | Started | BecameReady | Postponed | GaveUp | Stopping


WorkerNews = Logged | Started | BecameReady | Postponed | GaveUp
"""News about one worker."""


def in_words(news: News) -> tuple[str | None, str]:
    """Return the slot that a piece of news is about (None: all slots), and one line of text.

    The text may contain what a worker printed: escape it before it is written to a terminal.
    """
    match news:
        case Planned(slots):
            return None, f"starting {', '.join(slots)}"
        case BrokerFound(shown, origin):
            return None, f"broker {shown} (from {origin})"
        case BrokerAwaited(reason):
            return None, f"waiting for the broker: {reason}"
        case Warned(what):
            return None, f"warning: {what}"
        case Stopping(times, running):
            return None, _stopping_text(times, running)
        case _:
            return news.slot, _worker_text(news)


def _worker_text(news: WorkerNews) -> str:
    match news:
        case Logged(_, line):
            return line
        case Started(_, pid, device):
            return f"starting on {device} (pid {pid})"
        case BecameReady(_, seconds):
            return f"ready after {seconds:.1f} s"
        case Postponed(_, code, pause_s):
            again = f"again in {pause_s:g} s" if pause_s else "starting it again"
            return f"ended with {exit_text(code)}; {again}"
        case GaveUp(_, code, cordoned=str() as trouble):
            return f"failed: its GPU has a fault and is not used again until it is reset: {trouble} ({exit_text(code)})"
        case GaveUp(_, code, deaths):
            why = "its configuration has to be corrected" if deaths == 1 else f"it died {deaths} times in a row"
            return f"failed: {why} ({exit_text(code)})"


def exit_text(code: int) -> str:
    """Describe how a process ended: `exit code 3`, or `signal SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _stopping_text(times: int, running: Sequence[str]) -> str:
    if not running:
        return "stopping: no worker is running"
    names = ", ".join(running)
    if times == 1:
        return f"draining {names}: running tasks are finished; press Ctrl-C again to give them back at once"
    if times == 2:  # noqa: PLR2004 (the second signal)
        return f"giving back the running tasks of {names}"
    return f"killing {names}"
