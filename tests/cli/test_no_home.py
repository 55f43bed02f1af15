"""A container's user: no home, no passwd entry, or nothing that can be written to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_HOME = """
import pwd, sys
def nobody(uid): raise KeyError(uid)
pwd.getpwuid = nobody
sys.argv[0] = "mlq"
from mlq.cli.main import main
main()
"""
START = ["worker", "start", "--cpus", "1", "--model", "m.py:M"]
CLOSED = {"MLQ_BROKER_URL": "redis://127.0.0.1:1/0"}


def run(*args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run mlq as a user id that no file knows, with nothing in its environment."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_HOME, *args],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("environment", [{}, CLOSED], ids=["no broker", "a broker"])
def test_the_configuration_is_shown_without_a_home(tmp_path: Path, environment: dict[str, str]) -> None:
    """Nothing of it is kept anywhere."""
    ended = run("config", cwd=tmp_path, **environment)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("command", [["queues"], ["worker"], ["job"], ["dead"], ["result", "x"]], ids=" ".join)
def test_with_a_broker_no_command_that_asks_needs_a_home(tmp_path: Path, command: list[str]) -> None:
    """What it asks is there, not here."""
    ended = run(*command, cwd=tmp_path, **CLOSED)
    assert ended.returncode == 4, ended.stderr
    assert "Connection refused" in ended.stderr


@pytest.mark.parametrize("command", [["queues"], ["up"], START], ids=" ".join)
def test_without_a_broker_the_setting_is_named(tmp_path: Path, command: list[str]) -> None:
    """The embedded broker lives in a directory, and there is none."""
    ended = run(*command, cwd=tmp_path)
    assert ended.returncode == 3, ended.stderr
    assert "MLQ_STATE_DIR" in ended.stderr


@pytest.mark.parametrize("place", ["/proc/no/such", "/dev/null/x", "/" + "x" * 300, "file/state"])
def test_a_state_directory_that_cannot_be_used_is_named(tmp_path: Path, place: str) -> None:
    """A file system that is read-only, a file in the way, a name that is too long."""
    (tmp_path / "file").touch()
    for environment in ({}, CLOSED):
        ended = run(*START, cwd=tmp_path, MLQ_STATE_DIR=place, **environment)
        assert ended.returncode == 3, ended.stderr
        assert "MLQ_STATE_DIR" in ended.stderr
    assert run("config", cwd=tmp_path, MLQ_STATE_DIR=place).returncode == 0
    assert run("queues", cwd=tmp_path, MLQ_STATE_DIR=place, **CLOSED).returncode == 4


def test_a_working_directory_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    """There is no project's file in it, that is all."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})\n{WITHOUT_HOME}"
    ended = subprocess.run([sys.executable, "-c", code, "config"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
