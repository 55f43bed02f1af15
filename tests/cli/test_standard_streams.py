"""Standard streams that are closed or full: mlq reports an error, and never writes to another file instead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(place: Path, environ: dict[str, str], redirect: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run mlq from a shell that redirects its streams."""
    command = f'exec "$0" -m mlq "$@" {redirect}'
    argv = ["/bin/bash", "-c", command, sys.executable, *args]
    return subprocess.run(argv, cwd=place, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "args", [["config"], ["config", "--json"], [], ["--help"], ["--version"], ["submit", "--help"]]
)
def test_an_answer_that_cannot_be_written_is_an_error(place: Path, environ: dict[str, str], args: list[str]) -> None:
    """The disk is full, or stdout is closed. This is neither exit 0 nor an internal error."""
    for redirect, reason in (("> /dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
        ended = run(place, environ, redirect, *args)
        assert ended.returncode == 1, ended.stderr
        assert ended.stderr.splitlines()[0] == f"mlq: cannot write to standard output: {reason}"
        assert len(ended.stderr.splitlines()) == 2


@pytest.mark.parametrize("redirect", ["2>&-", "2> /dev/full", "2>&- >&- <&-"])
def test_an_error_that_cannot_be_printed_keeps_its_exit_code(
    place: Path, environ: dict[str, str], redirect: str
) -> None:
    """The calling process still gets the code."""
    ended = run(place, environ, redirect, "submit", "missing.jsonl")
    assert (ended.returncode, ended.stdout, ended.stderr) == (5, "", "")


def test_a_closed_input_is_not_an_empty_file(place: Path, environ: dict[str, str]) -> None:
    """A report of 0 rows with exit 0 would be wrong."""
    ended = run(place, environ, "<&-", "submit", "-", "--wait")
    assert ended.returncode in (1, 2, 5)
    assert "standard input" in ended.stderr.splitlines()[0]


@pytest.mark.parametrize(
    "name", ["a\nb.jsonl", "-x.jsonl", "caf\udce9.jsonl", "x" * 300, "\x1b[31m.jsonl", "a/" * 3000]
)
def test_a_file_of_any_name_is_found_or_refused_in_two_lines(place: Path, environ: dict[str, str], name: str) -> None:
    """A file name is bytes, and must not control the terminal."""
    words = ["-m", "mlq", "submit", "--wait", "-o", f"{name}.out", "--", name]
    argv = [os.fsencode(word) for word in (sys.executable, *words)]
    ended = subprocess.run(argv, cwd=place, env=environ, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 5
    happened, hint = ended.stderr.decode().splitlines()
    assert happened.startswith("mlq: no such file: ")
    assert hint.startswith("hint: ")
    assert "\x1b" not in happened
