"""What a fleet says in the terminal that runs it: workers' lines with their names, and its own news."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from mlq.console.printable import printable
from mlq.console.terminal import Terminal
from mlq.fleet.running import BecameReady, GaveUp, Logged, News, Started, Stopping
from mlq.fleet.supervisor import MISCONFIGURED, Postponed


class FleetLog:
    """Writes each piece of news as a line on stderr."""

    def __init__(self, terminal: Terminal, slots: list[str]) -> None:
        self._terminal = terminal
        self._width = max(map(len, slots), default=0)

    def __call__(self, news: News) -> None:
        """Tell one piece of news."""
        match news:
            case Logged(slot, line):
                self._line(slot, printable(line, limit=4000))
            case Started(slot, pid, device):
                self._line(slot, f"starting on {device} (pid {pid})")
            case BecameReady(slot, seconds):
                self._line(slot, f"ready after {seconds:.1f} s")
            case Postponed(slot, code, pause_s):
                again = f"again in {pause_s:g} s" if pause_s else "starting it again"
                self._line(slot, f"ended with {exit_text(code)}; {again}")
            case GaveUp():
                self._gave_up(news)
            case Stopping(times, running):
                self._terminal.warn(_stopping(times, running))

    def _line(self, slot: str, text: str) -> None:
        self._terminal.say(f"{slot:<{self._width}} | {text}")

    def _gave_up(self, news: GaveUp) -> None:
        why = "will not start again as it is" if news.code == MISCONFIGURED else f"died {news.deaths} times in a row"
        self._terminal.warn(f"{news.slot} failed: it {why} ({exit_text(news.code)}). Its last lines:")
        for line in news.last_lines:
            self._terminal.warn(f"  {printable(line, limit=4000)}")


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
