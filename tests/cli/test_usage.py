"""Usage errors and help texts, as a user reads them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlq.cli.main import root

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]


def every_path(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command, none for mlq itself first."""
    yield path
    if hasattr(command, "list_commands"):
        context = command.make_context("mlq", [], resilient_parsing=True)
        for word in command.list_commands(context):
            yield from every_path(command.get_command(context, word), (*path, word))


def every_group(command: Any) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command that has commands of its own, mlq itself first."""
    yield from dict.fromkeys(path[:-1] for path in every_path(command) if path)


def two_lines(ended: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """Return the two lines of an error, and check that the command wrote nothing else."""
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
    """The error names the wrong word, and the hint names the help or the missing option."""
    ended = mlq(*args)
    assert ended.returncode == 2
    happened, hint = two_lines(ended)
    assert named in happened + hint
    assert "`mlq" in hint or "--wait" in hint


@pytest.mark.parametrize(("typed", "meant"), [("wroker", "worker"), ("sumbit", "submit"), ("queue", "queues")])
def test_a_misspelled_command_gets_a_suggestion(mlq: Mlq, typed: str, meant: str) -> None:
    """The error names the command that was probably meant."""
    ended = mlq(typed)
    assert ended.returncode == 2
    assert f"'{meant}'" in two_lines(ended)[0]


def test_a_misspelled_setting_gets_a_suggestion(mlq: Mlq, place: Path) -> None:
    """An unknown key is an error that names the file and the nearest known key."""
    (place / "mlq.toml").write_text('broker_ulr = "redis://localhost/0"\n')
    ended = mlq("config")
    assert ended.returncode == 3
    happened, hint = two_lines(ended)
    assert "'broker_ulr'" in happened
    assert "mlq.toml" in happened
    assert "'broker_url'" in hint


@pytest.mark.parametrize("path", list(every_path(root())), ids=" ".join)
def test_help_is_at_every_level_with_examples_before_options(mlq: Mlq, path: tuple[str, ...]) -> None:
    """-h and --help print the same text, in which a user finds a line to copy first."""
    helped = mlq(*path, "-h")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout == mlq(*path, "--help").stdout
    assert 0 < helped.stdout.find("Examples:") < helped.stdout.find("Options:")


@pytest.mark.parametrize("path", list(every_group(root())), ids=" ".join)
def test_the_summary_of_each_command_fits_on_one_line(mlq: Mlq, path: tuple[str, ...]) -> None:
    """On a terminal of 80 columns no summary is cut with "..." or continued on a second line."""
    summaries = mlq(*path, "--help", COLUMNS="80").stdout.partition("Commands:\n")[2].splitlines()
    assert summaries
    assert [line for line in summaries if line.endswith("...") or not re.match(r"  \w", line)] == []


def test_a_bare_mlq_is_its_help(mlq: Mlq) -> None:
    """Without a command mlq prints its help and exits 0."""
    bare = mlq()
    assert (bare.returncode, bare.stderr) == (0, "")
    assert bare.stdout == mlq("--help").stdout


@pytest.mark.parametrize("args", [["--debug", "submit", "missing.json"], ["submit", "missing.json", "--debug"]])
def test_debug_adds_the_traceback(mlq: Mlq, args: list[str]) -> None:
    """--debug may stand before or after the command; the two lines of the error come last."""
    ended = mlq(*args)
    assert ended.returncode == 5
    assert ended.stderr.startswith("Traceback (most recent call last)")
    assert ended.stderr.splitlines()[-2] == "mlq: no such file: missing.json"


def test_there_is_no_traceback_without_debug(mlq: Mlq) -> None:
    """An error of the user, such as a missing file, is two lines."""
    ended = mlq("submit", "missing.json")
    assert ended.returncode == 5
    assert two_lines(ended)[0] == "mlq: no such file: missing.json"


def test_a_shared_option_may_stand_before_the_command(mlq: Mlq) -> None:
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
def test_a_time_that_is_not_finite_is_refused(mlq: Mlq, words: list[str]) -> None:
    """NaN would pass the check of a range, and a wait of infinite seconds would never end."""
    ended = mlq(*words)
    assert (ended.returncode, "expected a duration" in ended.stderr) == (2, True)
