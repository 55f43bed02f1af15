"""Colors and animation: on a terminal unless they are turned off, elsewhere only if they are turned on."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.conftest import DEADLINE_S, MLQ, Start, User

COLOUR = re.compile(r"\x1b\[[\d;]*\b(3[0-7]|38|9[0-7])\b[\d;]*m")


@pytest.fixture
def fleet(user: User, broker: str, start: Start) -> User:
    """Start a worker, and remove the color settings of the tests' own terminal."""
    assert broker
    for variable in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "CI"):
        user.environment.pop(variable, None)
    user.environment["TERM"] = "xterm-256color"
    user.write("rows.json", list(range(10)))
    start("--cpus", "1")
    return user


def run_on_terminal(user: User, *argv: str, **environment: str) -> str:
    """Run a command with stderr on a terminal, and return what it printed there."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [MLQ, *argv],
        env={**user.environment, **environment},
        cwd=user.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # Linux reports the closed other end with this error
        pass
    finally:
        os.close(ours)
    assert process.wait(DEADLINE_S) == 0, shown.decode()
    return shown.decode()


def test_a_bar_has_colors_on_a_terminal_unless_they_are_turned_off(fleet: User) -> None:
    """The flag or NO_COLOR turns them off; the bar is still animated."""
    submit = ("submit", "rows.json", "--wait")
    assert COLOUR.search(run_on_terminal(fleet, *submit))
    for shown in (run_on_terminal(fleet, *submit, "--no-color"), run_on_terminal(fleet, *submit, NO_COLOR="1")):
        assert "10/10" in shown
        assert not COLOUR.search(shown)


def test_a_dumb_terminal_gets_lines(fleet: User) -> None:
    """It would print the escape sequences as text."""
    shown = run_on_terminal(fleet, "submit", "rows.json", "--wait", TERM="dumb")
    assert "10 of 10 rows" in shown
    assert "\x1b" not in shown


def test_a_file_gets_plain_text_unless_colors_are_turned_on(fleet: User) -> None:
    """A table in a file has no escape sequences; FORCE_COLOR turns them on for a CI that shows them."""
    assert "\x1b" not in fleet.run("queues").stdout
    fleet.environment["FORCE_COLOR"] = "1"
    assert "\x1b[" in fleet.run("queues").stdout
    assert "\x1b" not in fleet.run("queues", "--json").stdout
