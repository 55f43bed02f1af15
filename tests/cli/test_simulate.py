"""`mlq autoscale simulate`: the options that it accepts, those that it refuses, and its output."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlq.autoscale.replay import trace as trace_file

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def trace(place: Path) -> str:
    """Return a trace of 200 tasks within 20 s, each of half a second, after five quiet minutes."""
    (place / "burst.csv").write_text("at,service\n0,0.5\n" + "".join(f"{300 + n / 10},0.5\n" for n in range(200)))
    return "burst.csv"


def run_replay(mlq: Mlq, *args: str) -> dict[str, Any]:
    """Replay the trace, and return the output."""
    ended = mlq("autoscale", "simulate", *args, "--json")
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_the_three_policies_have_the_names_in_the_help(mlq: Mlq, trace: str) -> None:
    """Two spellings select the threshold policy, whose default threshold is 50; the help names every policy."""
    plain = run_replay(mlq, trace, "--policy", "threshold", "--threshold", "50")
    assert run_replay(mlq, trace, "--policy", "threshold") == plain
    assert run_replay(mlq, trace, "--threshold", "50") == plain
    assert run_replay(mlq, trace, "--policy", "threshold", "--threshold", "5") != plain
    assert run_replay(mlq, trace, "--policy", "mlq") == run_replay(mlq, trace) != plain
    assert run_replay(mlq, trace, "--policy", "static:4")["most_workers"] == 4
    text = mlq("autoscale", "simulate", "-h").stdout
    assert all(name in text for name in ("mlq (the default)", "threshold (", "static:N ("))


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--policy", "static:2", "--threshold", "5"], "--threshold"),
        (["--policy", "static:2", "--max", "5"], "--max"),
        (["--policy", "static:2", "--preset", "latency"], "--preset"),
        (["--policy", "mlq", "--threshold", "5"], "--threshold"),
        (["--policy", "threshold", "--preset", "latency"], "--preset"),
        (["--threshold", "5", "--preset", "latency"], "--preset"),
        (["--policy", "keda"], "'keda'"),
        (["--policy", "static:0"], "'0'"),
        (["--policy", "static:"], "''"),
        (["--threshold", "-1"], "-1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(mlq: Mlq, trace: str, args: list[str], named: str) -> None:
    """If one were ignored, the user would trust a result of other options."""
    ended = mlq("autoscale", "simulate", trace, *args)
    assert (ended.returncode, ended.stdout) == (2, "")
    happened, hint = ended.stderr.splitlines()
    assert named in happened
    assert hint.startswith("hint: ")


def test_every_task_of_a_trace_is_counted_including_the_first(mlq: Mlq, place: Path) -> None:
    """Three rows are three tasks, and tasks that waited at the start count as waiting."""
    (place / "three.csv").write_text("0,10\n1,10\n2,10\n")
    found = run_replay(mlq, "three.csv", "--policy", "static:1")
    assert (found["tasks"], found["in_time"], found["wait_p99_s"]) == (3, 0.33333, 18.0)


@pytest.mark.parametrize("text", ["", "at,service\n", "\n\n"])
def test_a_trace_without_arrivals_is_an_error(mlq: Mlq, place: Path, text: str) -> None:
    """100% in time would be true, but useless."""
    (place / "empty.csv").write_text(text)
    ended = mlq("autoscale", "simulate", "empty.csv")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "empty.csv:1: no arrivals" in ended.stderr


@pytest.mark.parametrize(
    ("content", "line", "named"),
    [
        (b"1\n2\nlater\n", 3, "'later' is no time"),
        (b"at\n1\nnan\n", 3, "'nan' is no time"),
        (b"1\ninf\n", 2, "'inf' is no time"),
        (b"1\n-1\n", 2, "'-1' is no time"),
        (b"nan\n1\n", 1, "'nan' is no time"),
        (b"1,0.5\n\n2,inf\n", 3, "'inf' is no service time"),
        (b"1,0.5\n2,nan\n", 2, "'nan' is no service time"),
        (b"1,0.5\n2,-0.5\n", 2, "'-0.5' is no service time"),
        (b"1,0.5\n2,fast\n", 2, "'fast' is no service time"),
        (b"1\n2\n\xff\xfe\x00\x01\n", 3, "not UTF-8 text"),
        (b"\x80\x04\x95\x10", 1, "not UTF-8 text"),
        (b'1\n"' + b"x" * 200_000 + b'"\n', 2, "field larger than field limit"),
        (b"1\n2\n1e300\n", 3, "times are in seconds"),
        (b"1767323045000\n1767326645000\n1867326645000\n", 3, "times are in seconds"),
    ],
)
def test_the_error_about_a_bad_trace_names_the_line(
    mlq: Mlq, place: Path, content: bytes, line: int, named: str
) -> None:
    """The exit code is 2: it is no internal error, and no replay without end."""
    (place / "bad.csv").write_bytes(content)
    ended = mlq("autoscale", "simulate", "bad.csv")
    assert (ended.returncode, ended.stdout) == (2, "")
    happened, hint = ended.stderr.splitlines()
    assert happened.startswith(f"mlq: bad.csv:{line}: ")
    assert named in happened
    assert "`mlq autoscale simulate --help`" in hint


def test_a_missing_trace_has_its_own_exit_code(mlq: Mlq) -> None:
    """The exit code is 5: not found."""
    assert mlq("autoscale", "simulate", "nowhere.csv").returncode == 5


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1"])
@pytest.mark.parametrize(
    "flag", ["--target-wait", "--interval", "--zero-after", "--cold-start", "--service-time", "--batch-time"]
)
def test_a_time_that_is_not_a_finite_number_is_refused(mlq: Mlq, trace: str, flag: str, value: str) -> None:
    """NaN passes every bound, and infinity never ends."""
    ended = mlq("autoscale", "simulate", trace, f"{flag}={value}" + (",0.001" if flag == "--batch-time" else ""))
    assert (ended.returncode, ended.stdout) == (2, "")
    happened, hint = ended.stderr.splitlines()
    assert flag in happened
    assert value in happened
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("flag", ["--target-wait", "--interval", "--batch-time"])
def test_a_duration_in_which_something_happens_must_not_be_zero(mlq: Mlq, trace: str, flag: str) -> None:
    """Zero would mean no target, looks without a pause, or infinitely many forwards."""
    assert mlq("autoscale", "simulate", trace, flag, "0,0" if flag == "--batch-time" else "0").returncode == 2


def test_tasks_of_zero_seconds_are_replayed(mlq: Mlq, place: Path) -> None:
    """A log with whole seconds has many of them, and the rate of a worker must still be finite."""
    (place / "quick.csv").write_text("".join(f"{n},0\n" for n in range(200)))
    assert run_replay(mlq, "quick.csv")["in_time"] == 1.0
    assert run_replay(mlq, "quick.csv", "--service-time", "0") == run_replay(mlq, "quick.csv")


@pytest.mark.parametrize(
    "second",
    [
        "2026-01-02T03:00:02.5Z",
        "2026-01-02T03:00:02.500000000Z",
        "2026-01-02T05:00:02.5000000+02:00",
        "2026-01-01T22:00:02.5000000-05:00",
    ],
)
def test_times_may_be_dates(tmp_path: Path, second: str) -> None:
    """Dates may have any number of digits after the second, and any offset."""
    (tmp_path / "dates.csv").write_text(f"at\n2026-01-02T03:00:00Z\n{second}\n")
    assert [task.at for task in trace_file.read(tmp_path / "dates.csv", 0.5)] == [0.0, 2.5]
