"""Inputs that can be read only once, outputs that are not regular files, and files that cannot be completed."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Callable
from typing import Any

from tests.conftest import MLQ

DEADLINE_S = 60
ROWS = '{"id":"a","input":1}\n{"id":"b","input":2}\n'


def read_answers(text: str) -> list[Any]:
    """Return the ids of an output's lines, and the answer of each."""
    return [(line["id"], line["result"]["row"]) for line in map(json.loads, text.splitlines())]


def run_in_bash(user: Any, script: str, limits: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, with mlq as $MLQ."""
    return subprocess.run(
        ["/bin/bash", "-c", script],
        env={**user.environment, "MLQ": MLQ},
        cwd=user.directory,
        preexec_fn=limits,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_an_input_that_can_be_read_only_once_is_read_once(user: Any, start: Any) -> None:
    """The inputs are a process substitution, standard input under any name, a socket, and a file that bash opened."""
    start("--cpus", "1")
    user.write("rows.jsonl", ROWS)
    for script in (
        "$MLQ submit <(cat rows.jsonl) --wait",
        "cat rows.jsonl | $MLQ submit /dev/stdin --wait",
        "$MLQ submit /dev/stdin --wait < rows.jsonl",
        "$MLQ submit /dev/fd/7 --wait 7< rows.jsonl",
        "gzip -c rows.jsonl | $MLQ submit - --wait -o -",
        "(printf '\\xef\\xbb\\xbf'; cat rows.jsonl) | $MLQ submit - --wait -o /dev/stdout",
    ):
        done = run_in_bash(user, script)
        assert (done.returncode, read_answers(done.stdout)) == (0, [("a", 1), ("b", 2)]), (script, done.stderr)
    for option in ("--resume -o out.jsonl", "--errors bad.jsonl", "--job-id mine"):
        refused = run_in_bash(user, f"$MLQ submit <(cat rows.jsonl) --wait {option}")
        assert (refused.returncode, refused.stdout) == (2, ""), option
    broken = run_in_bash(user, "printf 'x\\n1\\n2\\n3\\n\\xe9\\n' | $MLQ submit - --format csv --wait")
    assert (broken.returncode, "the 2 rows before that were read" in broken.stderr) == (2, True) or (
        "is not UTF-8" in broken.stderr
    )


def test_a_named_pipe_waits_for_its_other_end_and_reports_that(user: Any, start: Any) -> None:
    """An input waits for a writer, an output for a reader."""
    start("--cpus", "1")
    for name in ("in.jsonl", "out.jsonl"):
        os.mkfifo(user.directory / name)
    waiting = user.command("submit", "in.jsonl", "--wait", "-o", "out.jsonl")
    waiting.wait_for("waiting for a process that writes to the named pipe in.jsonl")
    (user.directory / "in.jsonl").write_text(ROWS)
    waiting.wait_for("waiting for a process that reads the named pipe out.jsonl")
    assert read_answers((user.directory / "out.jsonl").read_text()) == [("a", 1), ("b", 2)]
    assert waiting.wait() == 0
    assert not (user.directory / "out.jsonl.mlq").exists()


def test_an_output_that_is_not_a_file_takes_the_answers_and_cannot_be_resumed(user: Any, start: Any) -> None:
    """It is a device or a descriptor; names of other formats are refused."""
    start("--cpus", "1")
    user.write("rows.jsonl", ROWS)
    assert user.run("submit", "rows.jsonl", "--wait", "-o", "/dev/null").returncode == 0
    other = run_in_bash(user, "$MLQ submit rows.jsonl --wait -o /dev/fd/5 5> five.jsonl")
    assert (other.returncode, read_answers((user.directory / "five.jsonl").read_text())) == (0, [("a", 1), ("b", 2)])
    for name in ("-", "/dev/null", "/dev/fd/1"):
        assert user.run("submit", "rows.jsonl", "--wait", "-o", name, "--resume").returncode == 2
    for name in ("out.csv", "out.PARQUET", "out.jsonl.gz", "out.tsv"):
        refused = user.run("submit", "rows.jsonl", "--wait", "-o", name)
        assert (refused.returncode, "JSON Lines" in refused.stderr) == (2, True)
        assert not (user.directory / name).exists()
    full = user.run("submit", "rows.jsonl", "--wait", "-o", "/dev/full")
    assert (full.returncode, "cannot write to /dev/full: no space left on device" in full.stderr) == (1, True)
    stdout = run_in_bash(user, "$MLQ submit rows.jsonl --wait > /dev/full")
    assert (stdout.returncode, "cannot write to standard output: no space left on device" in stdout.stderr) == (1, True)


def test_an_output_that_could_not_grow_can_be_resumed(user: Any, start: Any) -> None:
    """The disk is full, or a quota or a limit is reached.

    The hint names the command that resumes, and no row runs twice.
    """
    start("--cpus", "1")
    user.write("rows.jsonl", "".join(f'"row {n}"\n' for n in range(300)))

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    full = run_in_bash(user, "$MLQ submit rows.jsonl --wait -o out.jsonl", small)
    assert full.returncode == 1, full.stderr
    assert "mlq: cannot write to out.jsonl: file too large" in full.stderr
    assert "submit rows.jsonl --wait -o out.jsonl --resume` continues" in full.stderr
    assert user.run("submit", "rows.jsonl", "--wait", "-o", "out.jsonl", "--resume").returncode == 0
    lines = [json.loads(line) for line in (user.directory / "out.jsonl").read_text().splitlines()]
    assert [line["result"]["row"] for line in lines] == [f"row {n}" for n in range(300)]


def test_answers_stay_in_redis_if_the_output_file_was_removed(user: Any, start: Any) -> None:
    """In a removed file they would be lost at the end of the process."""
    start("--cpus", "1")
    gate = user.directory / "gate"
    user.write("rows.jsonl", json.dumps({"wait_for": str(gate)}) + "\n1\n")
    waiting = user.command("submit", "rows.jsonl", "--wait", "-o", "out.jsonl", "--job-id", "mine")
    user.until((user.directory / "model.log").exists, "the first row runs")
    (user.directory / "out.jsonl").unlink()
    gate.touch()
    assert waiting.wait() == 1
    assert any("the file was removed while it was written" in line for line in waiting.lines)
    collected = user.run("result", "mine", "--wait", "-o", "rescued.jsonl")
    assert collected.returncode == 0, collected.stderr
    assert len((user.directory / "rescued.jsonl").read_text().splitlines()) == 2
