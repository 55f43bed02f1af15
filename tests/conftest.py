"""Fixtures and helpers of all tests: private servers, real workers, `mlq` as a user runs it.

They end what they start, by pid.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from celery import Celery
from redis import Redis

from chaos.stock_client import stock_client
from mlq.broker import embedded
from tests import server_programs

MLQ = str(Path(sys.executable).with_name("mlq"))
DEADLINE_S = 60.0

MODEL = '''
"""A model without torch. A row is a command: what to answer, or what to do first."""
import os, time

class Model:
    max_batch_size = 4

    def setup(self, device):
        self.device = device

    def predict(self, rows):
        return [self.answer(row) for row in rows]

    def answer(self, row):
        log = os.environ.get("MODEL_LOG")
        if log:  # O_APPEND: every run is logged, even if its result is not recorded
            with open(log, "a") as file:
                file.write(f"start {row} {os.getpid()}\\n")
        if isinstance(row, dict):
            if "sleep" in row:
                time.sleep(row["sleep"])
            if "wait_for" in row:
                while not os.path.exists(row["wait_for"]):
                    time.sleep(0.01)
            if "fail" in row:
                raise ValueError(row["fail"])
        return {"row": row, "pid": os.getpid(), "device": self.device}
'''

_SERVER: Final = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Put the chosen server first on the PATH, for the fixtures and for every `mlq` that a test runs."""
    directory = Path(tempfile.mkdtemp(prefix="mlq-test-server-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)  # pytest-xdist's workers run no cleanup of pytest
    try:
        config.stash[_SERVER] = server_programs.put_on_path(directory)
    except server_programs.NotInstalled as exc:
        raise pytest.UsageError(str(exc)) from None


def pytest_report_header(config: pytest.Config) -> str:
    """Return the line that says on which server the tests run."""
    return f"server: {config.stash[_SERVER]} ({server_programs.VARIABLE} chooses another)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that talk to a server: `make test-servers` runs them on each server."""
    for item in items:
        if isinstance(item, pytest.Function) and server_programs.talks_to_a_server(item.fixturenames):
            item.add_marker(pytest.mark.server)


class Running:
    """An `mlq` command in the background, whose lines on stderr can be waited for."""

    def __init__(self, argv: Sequence[str], environment: dict[str, str], cwd: Path, mlq: str = MLQ) -> None:
        self.process = subprocess.Popen(
            [mlq, *argv], env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self._grew = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._grew:
                self.lines.append(line.rstrip("\n"))
                self._grew.notify_all()
        with self._grew:
            self._grew.notify_all()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until this number of lines contain a text."""
        with self._grew:
            there = self._grew.wait_for(lambda: sum(text in line for line in self.lines) >= times, DEADLINE_S)
        assert there, f"{text!r} did not come {times} times:\n" + "\n".join(self.lines)

    def pids(self) -> dict[str, int]:
        """Return the latest process id of each worker, from the lines of its start."""
        starts = [line for line in self.lines if "(pid " in line and " starting on " in line]
        return {line.split(" |")[0].strip(): int(line.rpartition("(pid ")[2].rstrip(")")) for line in starts}

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end of the process, and return the exit code."""
        code = self.process.wait(DEADLINE_S)
        self.close()
        return code

    def close(self) -> None:
        """Read the rest of an ended process's output, and close its pipes."""
        self._reader.join(DEADLINE_S)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def is_alive(process: psutil.Process | int) -> bool:
    """Return whether a process runs. After its end an orphan stays a zombie until its new parent collects it.

    That parent may be any process above the tests, for example PID 1 of a container. Some collect late, or never.
    """
    try:
        known = psutil.Process(process) if isinstance(process, int) else process
        return known.is_running() and known.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False


@dataclass
class User:
    """One user's environment: state directory, working directory, variables, and the `mlq` command of some version."""

    directory: Path
    environment: dict[str, str]
    mlq: str = MLQ

    @property
    def state(self) -> Path:
        """Return a private state directory with a short path: those of pytest are too long for the name of a socket."""
        return Path(self.environment["XDG_STATE_HOME"]) / "mlq"

    @property
    def broker_url(self) -> str:
        """The embedded broker's URL."""
        running = embedded.find(self.state)
        assert running is not None
        return running.url

    def run(self, *argv: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002 (subprocess's word)
        """Run a command to its end."""
        return subprocess.run(
            [self.mlq, *argv],
            env=self.environment,
            cwd=self.directory,
            input=input,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def json(self, *argv: str) -> Any:
        """Run a command with --json, and return its document."""
        done = self.run(*argv, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def write(self, name: str, content: Any) -> Path:
        """Write a file: text unchanged, everything else as JSON."""
        path = self.directory / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def until(self, holds: Callable[[], bool], what: str, within_s: float = DEADLINE_S) -> None:
        """Wait until a condition holds for which there is no event."""
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
            time.sleep(0.02)

    def command(self, *argv: str) -> Running:
        """Start a command in the background."""
        return Running(argv, self.environment, self.directory, self.mlq)


Start = Callable[..., Running]


@pytest.fixture
def user(state: Path) -> User:
    """Return a user's environment, with a model in serve.py that needs no torch."""
    work = state / "work"
    work.mkdir()
    (work / "serve.py").write_text(MODEL)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLQ_", "CELERY_"))}
    environment = {
        **inherited,
        "XDG_STATE_HOME": str(state),
        "XDG_CONFIG_HOME": str(state / "config"),
        "MODEL_LOG": str(work / "model.log"),
    }
    return User(work, environment)


@pytest.fixture
def start(user: User) -> Iterator[Start]:
    """Return a function that runs `mlq worker start …` and waits until its workers are ready.

    They end with the test.
    """
    started: list[Running] = []

    def begin(*argv: str, model: str | None = "serve.py:Model", ready: int = 1, **environment: str) -> Running:
        command = ["worker", "start", *argv, *(["--model", model] if model else [])]
        running = Running(command, {**user.environment, **environment}, user.directory)
        started.append(running)
        running.wait_for("ready after", times=ready)
        return running

    yield begin
    for running in reversed(started):
        if running.process.poll() is None:
            running.process.terminate()
            try:
                running.process.wait(10)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()
        running.close()


@pytest.fixture
def broker(user: User) -> Iterator[str]:
    """Run the embedded broker in the test's process, so that it outlives the workers of the test."""
    with embedded.running(user.state) as url:
        yield url


@pytest.fixture
def client(broker: str) -> Iterator[Celery]:
    """Return a stock client of the test's broker."""
    with stock_client(broker) as app:
        yield app


@pytest.fixture
def state() -> Iterator[Path]:
    """A private state directory with a short path: pytest's own are too long for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="mlq-test-") as directory:
        yield Path(directory)


@pytest.fixture
def server(state: Path) -> Iterator[embedded.Server]:
    """Run a server for this test alone, with every write on disk before it is answered."""
    server = embedded.Server(embedded.program(), state, appendfsync="always")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis(server: embedded.Server) -> Iterator[Redis]:
    """Return a plain client of that server."""
    with Redis(unix_socket_path=server.url.removeprefix("redis+socket://"), socket_timeout=10) as client:
        yield client
