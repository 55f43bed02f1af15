"""News of a fleet: what its loop tells whoever shows or keeps it, and the words for it."""

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
    """The broker answers: its address without a password, and which setting named it."""

    shown: str
    origin: str


@dataclass(frozen=True)
class BrokerAwaited:
    """The broker does not answer yet, and why."""

    reason: str


@dataclass(frozen=True)
class Warned:
    """Something works, but not as it should."""

    what: str


@dataclass(frozen=True)
class Logged:
    """A worker wrote a line."""

    slot: str
    line: str


@dataclass(frozen=True)
class Started:
    """A worker's process is there; its model is not yet."""

    slot: str
    pid: int
    device: str


@dataclass(frozen=True)
class BecameReady:
    """A worker takes work, so many seconds after its process was started."""

    slot: str
    seconds: float


@dataclass(frozen=True)
class GaveUp:
    """A slot is left empty; the last lines that its worker wrote say why, or what ails its device (`cordoned`)."""

    slot: str
    code: int
    deaths: int
    last_lines: Sequence[str]
    cordoned: str | None = None


@dataclass(frozen=True)
class Stopping:
    """Somebody asked to stop, for the `times`-th time, while these slots were at work."""

    times: int
    running: Sequence[str]


News = Planned | BrokerFound | BrokerAwaited | Warned | Logged | Started | BecameReady | Postponed | GaveUp | Stopping


OfAWorker = Logged | Started | BecameReady | Postponed | GaveUp


def in_words(news: News) -> tuple[str | None, str]:
    """Give the slot that a piece of news is about (None: all), and one line of text.

    The text may hold what a worker printed: it is not fit for a terminal before it is escaped.
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
            return None, _stopping(times, running)
        case _:
            return news.slot, _of_a_worker(news)


def _of_a_worker(news: OfAWorker) -> str:
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
            return f"failed: nothing is started on its GPU again, and mlq resets none: {trouble} ({exit_text(code)})"
        case GaveUp(_, code, deaths):
            why = "will not start again as it is" if deaths == 1 else f"died {deaths} times in a row"
            return f"failed: it {why} ({exit_text(code)})"


def exit_text(code: int) -> str:
    """Say how a process ended: `exit code 3`, or `signal SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _stopping(times: int, running: Sequence[str]) -> str:
    if not running:
        return "stopping: no worker is running"
    names = ", ".join(running)
    if times == 1:
        return f"draining {names}: what runs is finished; Ctrl-C again gives it back at once"
    if times == 2:  # noqa: PLR2004 (the second signal)
        return f"giving back what runs on {names}"
    return f"killing {names}"
