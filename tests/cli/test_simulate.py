"""`mlq autoscale simulate`: what it takes, what it refuses, and what it answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def trace(place: Path) -> str:
    """A burst of 200 tasks within 20 s, half a second each, after five quiet minutes."""
    (place / "burst.csv").write_text("at,service\n0,0.5\n" + "".join(f"{300 + n / 10},0.5\n" for n in range(200)))
    return "burst.csv"


def replayed(mlq: Mlq, *args: str) -> dict[str, Any]:
    """Replay, and give what it answered."""
    ended = mlq("autoscale", "simulate", *args, "--json")
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_the_three_policies_go_by_the_names_that_the_help_gives(mlq: Mlq, trace: str) -> None:
    """The plain rule has two ways in, which mean the same; without a number it is fifty that may wait."""
    plain = replayed(mlq, trace, "--policy", "threshold", "--threshold", "50")
    assert replayed(mlq, trace, "--policy", "threshold") == plain
    assert replayed(mlq, trace, "--threshold", "50") == plain
    assert replayed(mlq, trace, "--policy", "threshold", "--threshold", "5") != plain
    assert replayed(mlq, trace, "--policy", "mlq") == replayed(mlq, trace) != plain
    assert replayed(mlq, trace, "--policy", "static:4")["most_workers"] == 4
    text = mlq("autoscale", "simulate", "-h").stdout
    assert all(name in text for name in ("mlq (the default)", "threshold (the plain rule", "static:N"))


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
    """None is ignored: who gave it would believe the answer."""
    ended = mlq("autoscale", "simulate", trace, *args)
    assert (ended.returncode, ended.stdout) == (2, "")
    happened, hint = ended.stderr.splitlines()
    assert named in happened
    assert hint.startswith("hint: ")


def test_every_task_of_a_trace_is_judged_from_the_first_on(mlq: Mlq, place: Path) -> None:
    """Three rows are three tasks, and those who waited at the start have waited."""
    (place / "three.csv").write_text("0,10\n1,10\n2,10\n")
    found = replayed(mlq, "three.csv", "--policy", "static:1")
    assert (found["tasks"], found["in_time"], found["wait_p99_s"]) == (3, 0.33333, 18.0)


@pytest.mark.parametrize("text", ["", "at,service\n", "\n\n"])
def test_a_trace_without_arrivals_is_an_error(mlq: Mlq, place: Path, text: str) -> None:
    """100% in time would be true, and of no use."""
    (place / "empty.csv").write_text(text)
    ended = mlq("autoscale", "simulate", "empty.csv")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "empty.csv:1: no arrivals" in ended.stderr
