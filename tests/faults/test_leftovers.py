"""Processes that a worker's model has started end with the worker, before its successor starts. No others end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from mlq.supervisor.recovery.leftovers import adopting_orphans
from tests.conftest import MLQ, Start, User, is_alive

STARTS = '''
import os, subprocess, sys
from pathlib import Path

CHILD = """
import os, signal, sys, time
name, directory, *traits = sys.argv[1:]
for trait in traits:
    if trait == "fork" and os.fork():
        os._exit(0)
    if trait == "setsid":
        os.setsid()
    if trait == "group":
        os.setpgid(0, 0)
    if trait == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if trait == "parent" and os.fork():
        os.waitpid(-1, 0)
path = os.path.join(directory, f"{os.environ['MLQ_TEST_SLOT']}-{name}-{os.getpid()}")
open(path, "w").close()
time.sleep(3600)
"""

KINDS = {
    "plain": [],
    "deaf": ["deaf"],
    "group": ["group", "deaf"],
    "daemon": ["fork", "setsid", "fork"],
    "deaf-daemon": ["fork", "setsid", "fork", "deaf"],
    "grandchild": ["parent", "setsid"],
}

def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

class Model:
    def setup(self, device):
        slot = sys.argv[sys.argv.index("--name") + 1]
        started = Path("started")
        started.mkdir(exist_ok=True)
        for path in started.glob(f"{slot}-*"):
            if is_alive(path.name.rpartition("-")[2]):
                Path("met").open("a").write(f"{path.name}\\n")
        environment = {**os.environ, "MLQ_TEST_SLOT": slot}
        for name, traits in KINDS.items():
            subprocess.Popen([sys.executable, "-c", CHILD, name, str(started), *traits], env=environment)
    def predict(self, rows):
        for row in rows:
            if row == "end":
                os._exit(1)
            if row == "orphan":
                subprocess.run(["sh", "-c", "sleep 0.1 & exit 0"])
        return rows
'''
KINDS = 6


@pytest.fixture
def started_processes(user: User) -> Iterator[Callable[[str], dict[int, psutil.Process]]]:
    """Return a function that returns the processes that the models have started, by pid.

    Those that a failed test leaves are ended.
    """
    user.write("starts.py", STARTS)
    directory = user.directory / "started"
    known: dict[int, psutil.Process] = {}

    def look(slot: str = "") -> dict[int, psutil.Process]:
        found = {}
        for path in directory.glob(f"{slot}*"):
            pid = int(path.name.rpartition("-")[2])
            if pid not in known and psutil.pid_exists(pid):
                known[pid] = psutil.Process(pid)
            if pid in known:
                found[pid] = known[pid]
        return found

    yield look
    for process in known.values():
        if process.is_running():
            process.kill()


def is_zombie(process: psutil.Process) -> bool:
    """Return whether a process has ended without being collected; a process that does not exist was collected."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_named(process: psutil.Process, name: str) -> bool:
    try:
        return bool(process.name() == name)
    except psutil.NoSuchProcess:
        return False


def _none_lives(processes: dict[int, psutil.Process]) -> bool:
    return not any(map(is_alive, processes.values()))


Look = Callable[..., dict[int, psutil.Process]]


def _all(user: User, started_processes: Look, slot: str = "") -> dict[int, psutil.Process]:
    user.until(lambda: len(started_processes(slot)) == KINDS, "all have started")
    return started_processes(slot)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("end", ["kill", "exit", "restart"])
def test_a_successor_meets_no_process_of_its_predecessor(
    user: User, start: Start, started_processes: Look, end: str
) -> None:
    """Otherwise a server that no operator knows of could hold the GPU's memory."""
    workers = start("--cpus", "1", model="starts.py:Model")
    first = _all(user, started_processes)
    (pid,) = workers.pids().values()
    if end == "kill":
        os.kill(pid, signal.SIGKILL)
    elif end == "exit":
        user.write("row.jsonl", '"end"')
        assert user.run("submit", "row.jsonl").returncode == 0
    else:
        assert user.run("worker", "restart", "cpu0").returncode == 0
    workers.wait_for("ready after", times=2)
    assert _none_lives(first)
    assert not (user.directory / "met").exists()
    workers.process.kill() if end == "exit" else workers.end()


@pytest.mark.timeout(120)
def test_drained_workers_leave_no_process(user: User, start: Start, started_processes: Look) -> None:
    """Not even as a child of PID 1, where no one looks for it."""
    workers = start("--cpus", "1", model="starts.py:Model")
    left = _all(user, started_processes)
    assert workers.end() == 0
    assert _none_lives(left)


@pytest.mark.timeout(120)
def test_the_processes_of_the_workers_end_when_the_supervisor_is_killed(
    user: User, broker: str, start: Start, started_processes: Look
) -> None:
    """The kernel kills the workers. The supervisor's guard ends the rest, and no process that only looks similar."""
    assert broker
    workers = start("--cpus", "1", model="starts.py:Model")
    left = _all(user, started_processes)
    stranger = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(3600)"],
        env={**user.environment, "MLQ_OWNER": "another-supervisor/host:cpu0:1"},
        start_new_session=True,
    )
    try:
        workers.process.kill()
        user.until(lambda: _none_lives(left), "they have ended")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.timeout(120)
def test_the_processes_of_another_worker_are_kept(user: User, start: Start, started_processes: Look) -> None:
    """Its daemons are children of the same supervisor by then, and look the same."""
    workers = start("--cpus", "2", model="starts.py:Model", ready=2)
    gone, kept = _all(user, started_processes, "cpu0"), _all(user, started_processes, "cpu1")
    os.kill(workers.pids()["cpu0"], signal.SIGKILL)
    workers.wait_for("ready after", times=3)
    assert _none_lives(gone)
    assert all(map(is_alive, kept.values()))


@pytest.mark.timeout(120)
def test_orphans_of_a_living_worker_leave_no_zombies(user: User, start: Start, started_processes: Look) -> None:
    """They become the supervisor's children when they lose their parent."""
    workers = start("--cpus", "1", model="starts.py:Model")
    _all(user, started_processes)
    user.write("rows.jsonl", '"orphan"\n' * 5)
    assert user.run("submit", "rows.jsonl", "--wait").returncode == 0
    supervisor = psutil.Process(workers.process.pid)

    def zombies() -> list[int]:
        return [c.pid for c in supervisor.children() if is_zombie(c)]

    sleeping = [c for c in supervisor.children() if _is_named(c, "sleep")]
    user.until(lambda: not any(map(is_alive, sleeping)), "they have ended")
    user.until(lambda: not zombies(), "they are collected")


@pytest.mark.timeout(120)
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="a PID namespace needs root")
def test_as_pid_1_the_supervisor_collects_orphans(user: User, started_processes: Look) -> None:
    """In a container without --init every orphan of the model becomes a child of PID 1."""
    assert not started_processes()
    log = user.directory / "log"
    argv = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", MLQ, "worker", "start", "--cpus", "1"]
    with log.open("w") as file:
        container = subprocess.Popen(
            [*argv, "--model", "starts.py:Model"], env=user.environment, cwd=user.directory, stderr=file
        )
    try:
        user.until(lambda: "ready after" in log.read_text(), "it is ready")
        user.write("rows.jsonl", '"orphan"\n' * 5)
        url = log.read_text().split("broker ", 1)[1].split(" ", 1)[0]
        done = user.run("submit", "rows.jsonl", "--wait", "--broker", url)
        assert done.returncode == 0, done.stderr
        (supervisor,) = psutil.Process(container.pid).children()
        user.until(
            lambda: not any(map(is_zombie, supervisor.children(recursive=True))),
            "no zombie is left",
        )
    finally:
        container.kill()
        container.wait()


def _parent_of_an_orphan() -> int:
    """Start a process whose parent ends, and return the pid of its next parent."""
    script = "sleep 60 >/dev/null 2>&1 & echo $!"
    pid = int(subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True).stdout)
    parent = psutil.Process(pid).ppid()
    os.kill(pid, signal.SIGKILL)
    if parent == os.getpid():
        os.waitpid(pid, 0)
    return parent


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is adopted")
def test_orphans_are_adopted_only_while_workers_run() -> None:
    """After the end of its workers a process no longer collects orphans: each would stay a zombie."""
    elsewhere = _parent_of_an_orphan()
    with adopting_orphans():
        assert _parent_of_an_orphan() == os.getpid()
        with adopting_orphans():
            assert _parent_of_an_orphan() == os.getpid()
        assert _parent_of_an_orphan() == os.getpid(), "the block around it goes on"
    assert _parent_of_an_orphan() == elsewhere != os.getpid()
