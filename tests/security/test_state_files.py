"""The state directory: another user's directory is not trusted, and the files in a user's own directory are private."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from celery import Celery

from mlq.errors import StateDirectoryUnusable
from mlq.ipc.private_files import open_private, private_directory, write_private
from mlq.jobs.collect import sidecar
from mlq.jobs.errors import NotResumable
from tests.conftest import Start, User

MALLORY = 12345

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")

WRITING = """
class Model:
    def setup(self, device):
        open("written", "w").close()
    def predict(self, rows):
        return rows
"""


def open_modes(directory: Path) -> dict[str, int]:
    """Return the mode of each file below a directory that other users could use."""
    found = {}
    for path in directory.rglob("*"):
        facts = path.lstat()
        if not stat.S_ISLNK(facts.st_mode) and facts.st_mode & 0o077:
            found[str(path)] = stat.S_IMODE(facts.st_mode)
    return found


@pytest.fixture
def forged_state(user: User) -> Path:
    """Return a state directory that names a running broker, and a program to start as one."""
    state = user.state
    (state / "broker").mkdir(parents=True)
    (state / "broker.json").write_text(json.dumps({"url": "redis://127.0.0.1:1/0", "pid": 1}))
    program = user.write("program", f"#!/bin/sh\ntouch {user.directory}/ran\n")
    program.chmod(0o755)
    (state / "broker" / "program").write_text(str(program))
    (state / "broker.lock").touch()
    return state


@as_root
@pytest.mark.parametrize("command", [["queues"], ["worker", "logs"], ["worker", "start", "--cpus", "1"], ["up"]])
def test_another_users_state_directory_is_not_trusted(user: User, forged_state: Path, command: list[str]) -> None:
    """It names the broker that gets the payloads, and the program to start as a broker."""
    for path in (forged_state, *forged_state.rglob("*")):
        os.chown(path, MALLORY, MALLORY)
    done = user.run(*command)
    assert done.returncode == 3
    happened, hint = done.stderr.splitlines()[-2:]
    assert f"{forged_state} belongs to uid {MALLORY}" in happened
    assert "MLQ_STATE_DIR" in hint
    assert not (user.directory / "ran").exists()


@pytest.mark.parametrize("command", [["queues"], ["worker", "start", "--cpus", "1", "--model", "serve.py:Model"]])
def test_a_state_directory_that_others_may_write_is_not_trusted(
    user: User, forged_state: Path, command: list[str]
) -> None:
    """For example MLQ_STATE_DIR=/tmp."""
    forged_state.chmod(0o1777)
    done = user.run(*command)
    assert done.returncode == 3
    assert f"`chmod o-w {forged_state}`" in done.stderr
    assert stat.S_IMODE(forged_state.stat().st_mode) == 0o1777  # mlq must not change its mode: it may be /tmp
    assert not (user.directory / "ran").exists()


@as_root
def test_a_record_of_another_user_names_no_program(user: User, forged_state: Path) -> None:
    """The directory may have been another user's, or writable for all, before."""
    os.chown(forged_state / "broker" / "program", MALLORY, MALLORY)
    done = user.run("worker", "start", "--cpus", "1", "--model", "serve.py:Model")
    assert done.returncode == 3
    assert f"program: it belongs to uid {MALLORY}" in done.stderr
    assert not (user.directory / "ran").exists()


@pytest.mark.server
@pytest.mark.parametrize("detach", [[], ["--detach"]], ids=["foreground", "detached"])
def test_state_files_are_private_and_a_models_files_have_the_users_umask(user: User, detach: list[str]) -> None:
    """Logs name tasks, and the append-only file contains every payload. mlq does not decide about a model's files."""
    user.write("writing.py", WRITING)
    before = os.umask(0o022)
    try:
        running = user.command("worker", "start", "--cpus", "1", "--model", "writing.py:Model", *detach)
    finally:
        os.umask(before)
    running.wait_for("ready after")
    try:
        assert user.run("submit", str(user.write("rows.json", [1, 2])), "--wait", "-o", "out.jsonl").returncode == 0
        (worker,) = user.json("worker")["workers"]
        assert open_modes(user.state) == {}
        assert stat.S_IMODE((user.directory / "written").stat().st_mode) == 0o644
        assert umask(worker["supervisor"]) == 0o077
        assert umask(worker["pid"]) == 0o022
    finally:
        user.run("worker", "stop", "--all", "--drain-timeout", "0")
        running.wait()


def umask(pid: int) -> int:
    """Return the umask of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("Umask:")]
    return int(line.split()[1], 8)


def test_an_output_has_the_mode_that_its_user_wants(user: User, client: Celery, start: Start) -> None:
    """The user asked for it with -o, and others may be meant to read it."""
    del client
    start("--cpus", "1")
    rows = user.write("rows.json", [1])
    script = f"umask 027; exec {user.mlq} submit {rows} --wait -o out.jsonl"
    subprocess.run(["/bin/sh", "-c", script], cwd=user.directory, env=user.environment, check=True, timeout=60)
    assert stat.S_IMODE((user.directory / "out.jsonl").stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="the warning is for root")
def test_root_is_warned_once_and_not_by_each_command(user: User, broker: str, start: Start) -> None:
    """One line at the start of workers says what to do instead."""
    del broker
    workers = start("--cpus", "2", ready=2)
    workers.wait_for("root runs the model and every task")
    assert sum("User= in systemd" in line for line in workers.lines) == 1
    assert "root runs" not in user.run("queues").stderr


def test_a_file_of_an_older_version_becomes_private_when_it_is_used(tmp_path: Path) -> None:
    """Older versions created it with the user's umask."""
    log = tmp_path / "cpu0.log"
    log.write_text("before\n")
    log.chmod(0o644)
    with open_private(log, "ab") as file:
        file.write(b"after\n")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert log.read_text() == "before\nafter\n"
    (tmp_path / "logs").mkdir(mode=0o755)
    private_directory(tmp_path / "logs")
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", ["w", "ab", "a+", "r"])
def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path, mode: str) -> None:
    """Another user who creates a link under a predictable name could choose the file that is overwritten."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "broker.lock").symlink_to(victim)
    with pytest.raises(OSError, match="it is a link"):
        open_private(tmp_path / "broker.lock", mode)
    write_private(tmp_path / "broker.json", "new")
    (tmp_path / "broker.json.mlq-new").symlink_to(victim)
    with pytest.raises(OSError, match="it is a link"):
        write_private(tmp_path / "broker.json", "newer")
    (tmp_path / "logs").symlink_to(tmp_path)
    with pytest.raises(StateDirectoryUnusable, match="link"):
        private_directory(tmp_path / "logs")
    assert victim.read_text() == "precious"


@as_root
@pytest.mark.parametrize("mode", ["w", "ab", "r"])
def test_another_users_file_is_neither_read_nor_truncated(tmp_path: Path, mode: str) -> None:
    """The owner is checked before the file is changed."""
    theirs = tmp_path / "cpu0.log"
    theirs.write_text("theirs")
    os.chown(theirs, MALLORY, MALLORY)
    with pytest.raises(PermissionError, match=f"it belongs to uid {MALLORY}"):
        open_private(theirs, mode)
    assert theirs.read_text() == "theirs"
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o644


def test_a_pipe_in_place_of_a_file_does_not_block_a_command(tmp_path: Path) -> None:
    """Opening it would wait for a process at its other end."""
    os.mkfifo(tmp_path / "cpu0.log")
    for mode in ("r", "w"):
        with pytest.raises(OSError, match=r"not a regular file|No such device"):
            open_private(tmp_path / "cpu0.log", mode)


def test_a_sidecar_beside_an_output_follows_no_link(tmp_path: Path) -> None:
    """The output may be in /tmp, and the names of its sidecars are predictable."""
    note = sidecar.Sidecar(job="j", input="i", fingerprint="f", rows=1, options={})
    victim = tmp_path / "victim"
    victim.write_text("precious")
    output = tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.mlq.mlq-new").symlink_to(victim)
    with pytest.raises(Exception, match="link"):
        sidecar.write(output, note)
    assert victim.read_text() == "precious"
    sidecar.write(output, note)  # the attempt removed the link
    assert sidecar.read(output) == note


@as_root
def test_another_users_sidecar_resumes_no_job(tmp_path: Path) -> None:
    """It would choose the job whose answers are written to this output."""
    note = sidecar.Sidecar(job="j", input="i", fingerprint="f", rows=1, options={})
    sidecar.write(tmp_path / "out.jsonl", note)
    os.chown(tmp_path / "out.jsonl.mlq", MALLORY, MALLORY)
    with pytest.raises(NotResumable, match=f"uid {MALLORY}"):
        sidecar.read(tmp_path / "out.jsonl")
