"""mlq on a hardened host: an ordinary user, a read-only root file system, and one writable directory."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.conftest import MLQ, Running, User

pytestmark = pytest.mark.server

NOBODY: Final = 65534

LOCKED_UP: Final = """
set -e
mount --make-rprivate /
mount --bind {state} {state}
mount -o remount,bind,ro /
exec setpriv --no-new-privs --reuid {user} --regid {user} --clear-groups \
    --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search --bounding-set=-all,+dac_read_search \
    -- "$@"
"""
"""A script for ProtectSystem=strict, ReadWritePaths=, User=, NoNewPrivileges= and CapabilityBoundingSet= of systemd.

The capability dac_read_search lets the user run an interpreter that is installed below /root.
"""

_TRY_TO_MOUNT: Final = ["/bin/sh", "-c", "unshare -m mount --make-rprivate /"]


@pytest.fixture
def hardened_user(user: User, tmp_path: Path) -> Iterator[User]:
    """A user whose `mlq` is sandboxed if root runs the tests; otherwise, a user with one writable directory."""
    state = user.directory.parent / "var"
    state.mkdir(mode=0o700)
    user.directory.chmod(0o755)
    user.directory.parent.chmod(0o755)
    inherited = {k: v for k, v in user.environment.items() if not k.startswith(("XDG_", "HOME", "MODEL_LOG"))}
    user.environment = {**inherited, "HOME": "/nonexistent", "MLQ_STATE_DIR": str(state)}
    if os.geteuid() == 0:
        os.chown(state, NOBODY, NOBODY)
        if shutil.which("setpriv") is None or subprocess.run(_TRY_TO_MOUNT, check=False).returncode:
            pytest.skip("needs unshare and setpriv, and the right to mount")
        script = tmp_path / "locked_up.sh"
        script.write_text(LOCKED_UP.format(state=shlex.quote(str(state)), user=NOBODY))
        user.mlq = str(tmp_path / "mlq")
        Path(user.mlq).write_text(f'#!/bin/sh\nexec unshare -m /bin/sh {script} {MLQ} "$@"\n')
        Path(user.mlq).chmod(0o755)
    else:
        user.directory.chmod(0o555)
    yield user
    user.directory.chmod(0o755)


@pytest.fixture
def worker(hardened_user: User) -> Iterator[Running]:
    """Start a worker on the hardened host, with its own embedded broker."""
    running = hardened_user.command("worker", "start", "--cpus", "1", "--model", "serve.py:Model")
    try:
        running.wait_for("ready after")
        yield running
    finally:
        running.process.terminate()
        running.wait()


def test_a_worker_needs_one_directory_and_no_capability(hardened_user: User, worker: Running) -> None:
    """The broker, slots, logs and results are all in MLQ_STATE_DIR."""
    state = Path(hardened_user.environment["MLQ_STATE_DIR"])
    rows = hardened_user.directory.parent / "rows.json"
    rows.write_text("[1, 2, 3]")
    done = hardened_user.run("submit", str(rows), "--wait", "-o", str(state / "out.jsonl"))
    assert done.returncode == 0, done.stderr
    assert len((state / "out.jsonl").read_text().splitlines()) == 3
    (row,) = hardened_user.json("worker")["workers"]
    serving = psutil.Process(row["pid"])
    status = Path(f"/proc/{row['pid']}/status").read_text()
    assert serving.uids().effective == (NOBODY if os.geteuid() == 0 else os.geteuid())
    if os.geteuid() == 0:
        assert "NoNewPrivs:\t1" in status
    assert not any("Traceback" in line or "root runs" in line for line in worker.lines)
    assert "ready" in hardened_user.run("worker", "logs", "cpu0").stdout


def test_a_start_without_a_writable_directory_names_the_setting(hardened_user: User) -> None:
    """Without MLQ_STATE_DIR, the error and its hint are two lines."""
    del hardened_user.environment["MLQ_STATE_DIR"]
    refused = hardened_user.run("worker", "start", "--cpus", "1", "--model", "serve.py:Model")
    assert refused.returncode == 3
    happened, hint = refused.stderr.splitlines()
    assert happened.startswith("mlq: ")
    assert "MLQ_STATE_DIR" in hint


def test_systemd_accepts_every_line_of_the_documented_unit(tmp_path: Path) -> None:
    """A misspelled directive has no effect, and systemd only logs it."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze, which needs no systemd to run")
    page = (Path(__file__).parents[2] / "docs" / "hardening.md").read_text()
    unit = page.partition("```ini\n")[2].partition("```")[0]
    path = tmp_path / "mlq.service"
    path.write_text(unit.replace("/opt/mlq/bin/mlq", MLQ).replace("User=mlq", f"User={os.geteuid()}"))
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)  # noqa: S607
    assert [line for line in done.stderr.splitlines() if "mlq.service" in line] == []
    assert unit.count("\n") > 30
