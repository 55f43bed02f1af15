"""The live line: one line below everything that is printed, on a terminal only."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from mlq.autoscale.policy.policy import Decision
from mlq.terminal import decisions
from mlq.terminal.decisions import DecisionLog
from mlq.terminal.live_line import LiveLine
from mlq.terminal.terminal import Terminal

HOLD = Decision(0.0, 4, 2, 2, 1, 3, "hold", "as many as are needed", rate=4.2)


class Screen(io.StringIO):
    """A simulated terminal that applies the erase sequence."""

    def __init__(self, *, is_terminal: bool = True) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def lines(self) -> list[str]:
        """Return the visible text."""
        return [line.rpartition("\r\x1b[2K")[2] for line in self.getvalue().split("\n")]


@pytest.fixture(autouse=True)
def _dumb_terminals_are_another_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def test_it_is_rewritten_in_place_below_other_lines() -> None:
    """Lines of workers and warnings of the loop's thread are printed while the line is shown."""
    screen = Screen()
    terminal = Terminal(stderr=screen)
    bottom = LiveLine(terminal)
    with bottom:
        bottom.show("2 workers")
        terminal.say("cpu0 | ready after 1.0 s")
        bottom.show("3 workers")
        logging.getLogger("mlq.autoscale").warning("a turn failed: %s", "x")
        assert screen.lines() == ["cpu0 | ready after 1.0 s", "a turn failed: x", "3 workers"]
    terminal.say("bye")
    assert screen.lines() == ["cpu0 | ready after 1.0 s", "a turn failed: x", "bye", ""]


def test_it_does_not_come_back_after_leave() -> None:
    """The loop may still be in its last turn when the supervisor stops."""
    screen = Screen()
    bottom = LiveLine(Terminal(stderr=screen))
    with bottom:
        bottom.leave()
        bottom.show("3 workers")
        assert screen.getvalue() == ""


def test_a_line_that_would_wrap_is_cut() -> None:
    """Only one line can be erased; a terminal of unknown width counts as 80 columns wide."""
    screen = Screen()
    bottom = LiveLine(Terminal(stderr=screen))
    with bottom:
        bottom.show("x" * 200)
        assert len(screen.lines()[-1]) == 79


@pytest.mark.parametrize(
    ("json", "verbosity", "is_terminal", "term"),
    [(True, 0, True, "xterm"), (False, -1, True, "xterm"), (False, 0, False, "xterm"), (False, 0, True, "dumb")],
)
def test_it_is_shown_on_an_animated_terminal_only(
    monkeypatch: pytest.MonkeyPatch, *, json: bool, verbosity: int, is_terminal: bool, term: str
) -> None:
    """It is not shown in a log file, with --json or --quiet, or on a dumb terminal."""
    monkeypatch.setenv("TERM", term)
    screen, out = Screen(is_terminal=is_terminal), io.StringIO()
    terminal = Terminal(json=json, verbosity=verbosity, stdout=out, stderr=screen)
    bottom = LiveLine(terminal)
    with bottom:
        tell = DecisionLog(terminal, "realtime", bottom)
        for at in range(3):
            tell(replace(HOLD, at=float(at)))
    assert "\x1b" not in screen.getvalue() + out.getvalue()
    assert len(out.getvalue().splitlines()) == (3 if json else 0)
    assert len(screen.getvalue().splitlines()) == (0 if json or verbosity else 1)


def test_it_shows_every_decision_and_the_log_only_changes() -> None:
    """It shows live, starting and wanted workers, waiting and running tasks, the rate, the reason and the time."""
    screen = Screen()
    terminal = Terminal(stderr=screen)
    bottom = LiveLine(terminal)
    with bottom:
        tell = DecisionLog(terminal, "realtime", bottom)
        tell(HOLD)
        tell(replace(HOLD, ready=9))
        said, now = screen.lines()
    assert said == decisions.line(HOLD)
    assert now[9:] == "realtime: 2 (+1) of 3 workers, 9 waiting, 2 running, 4.2/s; as many a…"


def test_an_unknown_figure_is_shown_as_unknown() -> None:
    """The state of the queue could not be read."""
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    assert decisions.now("q", replace(HOLD, rate=None), at) == (
        "03:04:05 q: 2 (+1) of 3 workers, 4 waiting, 2 running, -/s; as many as are needed"
    )
