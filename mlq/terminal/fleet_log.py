"""The log of a supervisor in its terminal: the lines of workers, each after the worker's name, and the news."""

from __future__ import annotations

from mlq.supervisor.news import BrokerFound, GaveUp, Logged, News, Planned, in_words
from mlq.terminal.printable import printable
from mlq.terminal.terminal import Terminal


class FleetLog:
    """Prints the news of a supervisor on stderr; without `workers_too`, leaves out the lines of workers' logs."""

    def __init__(self, terminal: Terminal, *, workers_too: bool = True) -> None:
        self._terminal = terminal
        self._width = 0
        self._workers_too = workers_too

    def __call__(self, news: News) -> None:
        """Print one piece of news."""
        slot, text = in_words(news)
        match news:
            case Planned(slots):
                self._width = max(map(len, slots), default=0)
            case Logged() if not self._workers_too:
                return
            case GaveUp():
                self._terminal.warn(f"{slot} {text}. Its last lines:")
                for line in news.last_lines:
                    self._terminal.warn(f"  {printable(line, limit=4000)}")
            case BrokerFound():
                self._terminal.say(printable(text, limit=4000))
            case _ if slot is None:
                self._terminal.warn(printable(text, limit=4000))
            case _:
                self._terminal.say(f"{slot:<{self._width}} | {printable(text, limit=4000)}")
