"""What a person who types something wrong, or asks for help, gets to read."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlq.cli.main import root

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]


def every_path(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """List the words that lead to each command, mlq itself first."""
    yield path
    if hasattr(command, "list_commands"):
        context = command.make_context("mlq", [], resilient_parsing=True)
        for word in command.list_commands(context):
            yield from every_path(command.get_command(context, word), (*path, word))


def two_lines(ended: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """Take an error apart, which is all that was written."""
    assert ended.stdout == ""
    happened, hint = ended.stderr.splitlines()
    assert happened.startswith("mlq: ")
    assert hint.startswith("hint: ")
    return happened, hint


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["submit"], "FILE"),
        (["submit", "rows.json", "--nonsense"], "--nonsense"),
        (["submit", "rows.json", "--priority", "10"], "10"),
        (["submit", "rows.json", "-o", "out"], "--wait"),
        (["worker", "start", "--cpus", "none"], "none"),
        (["worker", "start", "--gpu", "0"], "--gpus"),
        (["config", "more"], "more"),
        (["queues", "purge"], "NAME"),
        (["--nonsense"], "--nonsense"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_two_lines_and_exit_2(mlq: Mlq, args: list[str], named: str) -> None:
    """What was wrong is named, and so is the help that shows how it is done."""
    ended = mlq(*args)
    assert ended.returncode == 2
    happened, hint = two_lines(ended)
    assert named in happened + hint
    assert "`mlq" in hint or "--wait" in hint


@pytest.mark.parametrize(("typed", "meant"), [("wroker", "worker"), ("sumbit", "submit"), ("queue", "queues")])
def test_a_misspelt_command_is_recognised(mlq: Mlq, typed: str, meant: str) -> None:
    """The suggestion comes without loading any command."""
    ended = mlq(typed)
    assert ended.returncode == 2
    assert f"'{meant}'" in two_lines(ended)[0]


def test_a_misspelt_setting_is_recognised(mlq: Mlq, place: Path) -> None:
    """A key that does nothing would be worse than an error."""
    (place / "mlq.toml").write_text('broker_ulr = "redis://localhost/0"\n')
    ended = mlq("config")
    assert ended.returncode == 3
    happened, hint = two_lines(ended)
    assert "'broker_ulr'" in happened
    assert "mlq.toml" in happened
    assert "'broker_url'" in hint


@pytest.mark.parametrize("path", list(every_path(root())), ids=" ".join)
def test_help_is_at_every_level_with_examples_before_options(mlq: Mlq, path: tuple[str, ...]) -> None:
    """Most who ask for help want a line to copy."""
    helped = mlq(*path, "-h")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout == mlq(*path, "--help").stdout
    assert 0 < helped.stdout.find("Examples:") < helped.stdout.find("Options:")


def test_a_bare_mlq_is_its_help(mlq: Mlq) -> None:
    """And no error."""
    bare = mlq()
    assert (bare.returncode, bare.stderr) == (0, "")
    assert bare.stdout == mlq("--help").stdout


@pytest.mark.parametrize("args", [["--debug", "submit", "missing.json"], ["submit", "missing.json", "--debug"]])
def test_debug_adds_the_traceback(mlq: Mlq, args: list[str]) -> None:
    """At either end of the line; the two lines stay the last."""
    ended = mlq(*args)
    assert ended.returncode == 5
    assert ended.stderr.startswith("Traceback (most recent call last)")
    assert ended.stderr.splitlines()[-2] == "mlq: no such file: missing.json"


def test_there_is_no_traceback_without_debug(mlq: Mlq) -> None:
    """A missing file is no fault of mlq's."""
    ended = mlq("submit", "missing.json")
    assert ended.returncode == 5
    assert two_lines(ended)[0] == "mlq: no such file: missing.json"


def test_a_shared_option_counts_wherever_it_stands(mlq: Mlq) -> None:
    """`mlq --broker URL config` is `mlq config --broker URL`."""
    url = "redis://elsewhere:6379/3"
    before, after = mlq("--broker", url, "config", "--json"), mlq("config", "--json", "--broker", url)
    assert url in before.stdout
    assert before.stdout == after.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["result", "job", "--timeout", "nan"],
        ["queues", "--watch", "inf"],
        ["up", "--wait-broker", "nan"],
        ["worker", "stop", "--all", "--timeout", "nan"],
        ["worker", "stop", "--all", "--drain-timeout", "inf"],
    ],
)
def test_a_time_that_never_comes_is_refused(mlq: Mlq, words: list[str]) -> None:
    """NaN is no smaller than any bound, and nothing is ever later than it."""
    ended = mlq(*words)
    assert (ended.returncode, "is no number of seconds" in ended.stderr) == (2, True)
