"""Colors and animation: on a terminal unless they are turned off; elsewhere only if they are turned on."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.conftest import DEADLINE_S, MLQ, House, Start

COLOUR = re.compile(r"\x1b\[[\d;]*\b(3[0-7]|38|9[0-7])\b[\d;]*m")


@pytest.fixture
def fleet(house: House, broker: str, start: Start) -> House:
    """Start a worker, and forget what the tests' own terminal wants."""
    assert broker
    for variable in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "CI"):
        house.environment.pop(variable, None)
    house.environment["TERM"] = "xterm-256color"
    house.write("rows.json", list(range(10)))
    start("--cpus", "1")
    return house


def on_terminal(house: House, *argv: str, **environment: str) -> str:
    """Run a command whose talk goes to a terminal, and give it."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [MLQ, *argv],
        env={**house.environment, **environment},
        cwd=house.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait(DEADLINE_S) == 0, said.decode()
    return said.decode()


def test_a_bar_is_colored_on_a_terminal_unless_colors_are_turned_off(fleet: House) -> None:
    """The flag or NO_COLOR turns them off; the bar is still animated."""
    submit = ("submit", "rows.json", "--wait")
    assert COLOUR.search(on_terminal(fleet, *submit))
    for said in (on_terminal(fleet, *submit, "--no-color"), on_terminal(fleet, *submit, NO_COLOR="1")):
        assert "10/10" in said
        assert not COLOUR.search(said)


def test_a_dumb_terminal_gets_lines(fleet: House) -> None:
    """It would show the escapes as they are."""
    said = on_terminal(fleet, "submit", "rows.json", "--wait", TERM="dumb")
    assert "10 of 10 rows" in said
    assert "\x1b" not in said


def test_output_to_a_file_is_plain_text_unless_colors_are_turned_on(fleet: House) -> None:
    """A table in a file has no escapes; in a CI that shows them, FORCE_COLOR brings them back."""
    assert "\x1b" not in fleet.run("queues").stdout
    fleet.environment["FORCE_COLOR"] = "1"
    assert "\x1b[" in fleet.run("queues").stdout
    assert "\x1b" not in fleet.run("queues", "--json").stdout
