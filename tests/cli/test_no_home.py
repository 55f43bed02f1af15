"""The user of a container: no home directory, no passwd entry, or no writable directory."""

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
    """Run mlq as a user id that owns no file, with an empty environment."""
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
    """Showing it writes no file."""
    ended = run("config", cwd=tmp_path, **environment)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("command", [["queues"], ["worker"], ["job"], ["dead"], ["result", "x"]], ids=" ".join)
def test_with_a_broker_commands_that_only_read_need_no_home(tmp_path: Path, command: list[str]) -> None:
    """Their data is on the broker, not in a directory."""
    ended = run(*command, cwd=tmp_path, **CLOSED)
    assert ended.returncode == 4, ended.stderr
    assert "Connection refused" in ended.stderr


@pytest.mark.parametrize("command", [["queues"], ["up"], START], ids=" ".join)
def test_without_a_broker_the_error_names_the_setting(tmp_path: Path, command: list[str]) -> None:
    """The embedded broker needs a directory, and this user has none."""
    ended = run(*command, cwd=tmp_path)
    assert ended.returncode == 3, ended.stderr
    assert "MLQ_STATE_DIR" in ended.stderr


@pytest.mark.parametrize("place", ["/proc/no/such", "/dev/null/x", "/" + "x" * 300, "file/state"])
def test_the_error_names_a_state_directory_that_cannot_be_used(tmp_path: Path, place: str) -> None:
    """It is on a read-only file system, it is a file, or its name is too long."""
    (tmp_path / "file").touch()
    for environment in ({}, CLOSED):
        ended = run(*START, cwd=tmp_path, MLQ_STATE_DIR=place, **environment)
        assert ended.returncode == 3, ended.stderr
        assert "MLQ_STATE_DIR" in ended.stderr
    assert run("config", cwd=tmp_path, MLQ_STATE_DIR=place).returncode == 0
    assert run("queues", cwd=tmp_path, MLQ_STATE_DIR=place, **CLOSED).returncode == 4


def test_commands_run_in_a_deleted_working_directory(tmp_path: Path) -> None:
    """The only difference is that it contains no file of a project."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})\n{WITHOUT_HOME}"
    ended = subprocess.run([sys.executable, "-c", code, "config"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
