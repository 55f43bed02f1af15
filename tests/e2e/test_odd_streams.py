"""Inputs that can be read only once, outputs that are no files, and files that cannot be written to their end."""

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


def answered(text: str) -> list[Any]:
    """Give the ids of the lines of an output, and what was answered to each."""
    return [(line["id"], line["result"]["row"]) for line in map(json.loads, text.splitlines())]


def shell(house: Any, script: str, limits: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, with mlq as $MLQ."""
    return subprocess.run(
        ["/bin/bash", "-c", script],
        env={**house.environment, "MLQ": MLQ},
        cwd=house.directory,
        preexec_fn=limits,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_what_can_be_read_only_once_is_read_once(house: Any, start: Any) -> None:
    """A substituted command, standard input by any name, a socket, a file of rows that the shell has open."""
    start("--cpus", "1")
    house.write("rows.jsonl", ROWS)
    for script in (
        "$MLQ submit <(cat rows.jsonl) --wait",
        "cat rows.jsonl | $MLQ submit /dev/stdin --wait",
        "$MLQ submit /dev/stdin --wait < rows.jsonl",
        "$MLQ submit /dev/fd/7 --wait 7< rows.jsonl",
        "gzip -c rows.jsonl | $MLQ submit - --wait -o -",
        "(printf '\\xef\\xbb\\xbf'; cat rows.jsonl) | $MLQ submit - --wait -o /dev/stdout",
    ):
        done = shell(house, script)
        assert (done.returncode, answered(done.stdout)) == (0, [("a", 1), ("b", 2)]), (script, done.stderr)
    for option in ("--resume -o out.jsonl", "--errors bad.jsonl", "--job-id mine"):
        refused = shell(house, f"$MLQ submit <(cat rows.jsonl) --wait {option}")
        assert (refused.returncode, refused.stdout) == (2, ""), option
    broken = shell(house, "printf 'x\\n1\\n2\\n3\\n\\xe9\\n' | $MLQ submit - --format csv --wait")
    assert (broken.returncode, "the 2 rows before that were read" in broken.stderr) == (2, True) or (
        "is not UTF-8" in broken.stderr
    )


def test_a_named_pipe_waits_for_its_other_end_and_says_so(house: Any, start: Any) -> None:
    """As an input for a writer, as an output for a reader."""
    start("--cpus", "1")
    for name in ("in.jsonl", "out.jsonl"):
        os.mkfifo(house.directory / name)
    waiting = house.command("submit", "in.jsonl", "--wait", "-o", "out.jsonl")
    waiting.wait_for("waiting for a process that writes to the named pipe in.jsonl")
    (house.directory / "in.jsonl").write_text(ROWS)
    waiting.wait_for("waiting for a process that reads the named pipe out.jsonl")
    assert answered((house.directory / "out.jsonl").read_text()) == [("a", 1), ("b", 2)]
    assert waiting.wait() == 0
    assert not (house.directory / "out.jsonl.mlq").exists()


def test_an_output_that_is_no_file_takes_the_answers_and_cannot_be_gone_on_with(house: Any, start: Any) -> None:
    """A device, a descriptor; names of other formats are refused."""
    start("--cpus", "1")
    house.write("rows.jsonl", ROWS)
    assert house.run("submit", "rows.jsonl", "--wait", "-o", "/dev/null").returncode == 0
    other = shell(house, "$MLQ submit rows.jsonl --wait -o /dev/fd/5 5> five.jsonl")
    assert (other.returncode, answered((house.directory / "five.jsonl").read_text())) == (0, [("a", 1), ("b", 2)])
    for name in ("-", "/dev/null", "/dev/fd/1"):
        assert house.run("submit", "rows.jsonl", "--wait", "-o", name, "--resume").returncode == 2
    for name in ("out.csv", "out.PARQUET", "out.jsonl.gz", "out.tsv"):
        refused = house.run("submit", "rows.jsonl", "--wait", "-o", name)
        assert (refused.returncode, "JSON Lines" in refused.stderr) == (2, True)
        assert not (house.directory / name).exists()
    full = house.run("submit", "rows.jsonl", "--wait", "-o", "/dev/full")
    assert (full.returncode, "cannot write to /dev/full: no space left on device" in full.stderr) == (1, True)
    stdout = shell(house, "$MLQ submit rows.jsonl --wait > /dev/full")
    assert (stdout.returncode, "cannot write to standard output: no space left on device" in stdout.stderr) == (1, True)


def test_a_file_that_cannot_grow_is_gone_on_with_once_it_can(house: Any, start: Any) -> None:
    """A full disk, a quota, a limit of the system's: the command that goes on is named, and nothing runs twice."""
    start("--cpus", "1")
    house.write("rows.jsonl", "".join(f'"row {n}"\n' for n in range(300)))

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    full = shell(house, "$MLQ submit rows.jsonl --wait -o out.jsonl", small)
    assert full.returncode == 1, full.stderr
    assert "mlq: cannot write to out.jsonl: file too large" in full.stderr
    assert "submit rows.jsonl --wait -o out.jsonl --resume` continues" in full.stderr
    assert house.run("submit", "rows.jsonl", "--wait", "-o", "out.jsonl", "--resume").returncode == 0
    lines = [json.loads(line) for line in (house.directory / "out.jsonl").read_text().splitlines()]
    assert [line["result"]["row"] for line in lines] == [f"row {n}" for n in range(300)]


def test_answers_are_not_taken_out_of_redis_into_a_file_that_was_removed(house: Any, start: Any) -> None:
    """They would be gone with the process."""
    start("--cpus", "1")
    gate = house.directory / "gate"
    house.write("rows.jsonl", json.dumps({"wait_for": str(gate)}) + "\n1\n")
    waiting = house.command("submit", "rows.jsonl", "--wait", "-o", "out.jsonl", "--job-id", "mine")
    house.until((house.directory / "model.log").exists, "the first row runs")
    (house.directory / "out.jsonl").unlink()
    gate.touch()
    assert waiting.wait() == 1
    assert any("the file was removed while it was written" in line for line in waiting.lines)
    collected = house.run("result", "mine", "--wait", "-o", "rescued.jsonl")
    assert collected.returncode == 0, collected.stderr
    assert len((house.directory / "rescued.jsonl").read_text().splitlines()) == 2
