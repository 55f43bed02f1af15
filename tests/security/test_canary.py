"""A canary password in every setting that may contain one: no failure writes it anywhere, in any encoding."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
from redis import Redis

from chaos.stock_client import stock_client
from tests.conftest import MLQ, Running, User
from tests.server_programs import serving

pytestmark = pytest.mark.server

WORD = "c4n4ry"
CANARY = f"#{WORD}/7%"
AS = quote(CANARY, safe="")
"""The canary as it is written in a URL."""

_RAW = CANARY.encode()
FORMS = (
    WORD.encode(),
    _RAW.hex().encode(),
    *(base64.b64encode(b"x" * shift + _RAW)[4:-4] for shift in (1, 2, 3)),  # for any text before it
    CANARY.encode("utf-16-le"),
)

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]

START = ("worker", "start", "--model", "serve.py:Model")
WORKER = (*START, "--cpus", "1")
PREFORK = (*START, "--pool", "prefork", "--concurrency", "1")
COMMANDS = (
    ("queues", "--json"),
    ("submit", "row.json"),
    WORKER,
    ("autoscale", "--queue", "realtime", "--once", "--model", "serve.py:Model", "--cpus", "1"),
)


def find_canary(place: Path, *texts: str) -> list[str]:
    """Return where the canary is: in these texts, and in each file below a directory."""
    held = {f"text {number}": text.encode() for number, text in enumerate(texts)}
    held |= {str(file): file.read_bytes() for file in place.rglob("*") if file.is_file() and not file.is_symlink()}
    return [where for where, content in held.items() for form in FORMS if form in content]


FAILURES = {
    "refused": {"MLQ_BROKER_URL": f"redis://user:{AS}@127.0.0.1:1/0"},
    "no-such-host": {"MLQ_BROKER_URL": f"rediss://:{AS}@no-such-host.invalid/0"},
    "not-escaped": {"MLQ_BROKER_URL": f"redis://:{CANARY}@127.0.0.1:1/0"},
    "host-forgotten": {"MLQ_BROKER_URL": f"redis://user:{WORD}/0"},
    "in-the-query": {"MLQ_BROKER_URL": f"redis://127.0.0.1:1/0?password={AS}"},
    "fail-over": {"MLQ_BROKER_URL": f"redis://127.0.0.1:1/0;redis://:{AS}@127.0.0.1:2/0"},
    "another-scheme": {"CELERY_BROKER_URL": f"sqs://key:{AS}@"},
    "rabbitmq": {"MLQ_BROKER_URL": f"amqp://user:{AS}@127.0.0.1:1//", "MLQ_STATE_URL": f"redis://:{AS}@127.0.0.1:1/0"},
    "sentinel": {
        "MLQ_BROKER_URL": f"sentinel://:{AS}@127.0.0.1:1;sentinel://:{AS}@127.0.0.1:2",
        "MLQ_BROKER_TRANSPORT_OPTIONS": json.dumps({"master_name": "m", "sentinel_kwargs": {"password": CANARY}}),
    },
    "sentinel-without-a-name": {
        "MLQ_BROKER_URL": f"sentinel://:{AS}@127.0.0.1:1",
        "MLQ_BROKER_TRANSPORT_OPTIONS": json.dumps({"sentinel_kwargs": {"password": CANARY}}),
    },
    "options-that-kombu-does-not-take": {
        "MLQ_BROKER_URL": f"redis://:{AS}@127.0.0.1:1/0",
        "MLQ_BROKER_TRANSPORT_OPTIONS": json.dumps({"socket_timeout": {"password": CANARY}}),
    },
    "options-that-are-no-table": {"MLQ_BROKER_TRANSPORT_OPTIONS": json.dumps({"password": CANARY})[:-1]},
    "options-that-rename-keys": {
        "MLQ_BROKER_URL": f"redis://:{AS}@127.0.0.1:1/0",
        "MLQ_BROKER_TRANSPORT_OPTIONS": json.dumps({"sep": ":", "password": CANARY}),
    },
    "a-url-in-another-setting": {"MLQ_RESULT_EXPIRES": f"redis://:{AS}@127.0.0.1/0"},
}
"""Failing configurations that need no server."""


def write_files(place: Path) -> None:
    """Write a row and a model."""
    (place / "row.json").write_text("[1]")
    (place / "serve.py").write_text("class Model:\n    def predict(self, rows):\n        return rows\n")


@pytest.fixture
def run(user: User) -> Callable[..., list[subprocess.CompletedProcess[str]]]:
    """Return a function that runs commands, two at a time."""
    write_files(user.directory)

    def one(command: tuple[str, ...], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MLQ, *command],
            env={**user.environment, **environment},
            cwd=user.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def run(commands: list[tuple[str, ...]], **environment: str) -> list[subprocess.CompletedProcess[str]]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda command: one(command, environment), commands))

    return run


Run = Callable[..., "list[subprocess.CompletedProcess[str]]"]


@pytest.mark.parametrize("name", FAILURES)
def test_no_failure_of_a_command_shows_the_password(user: User, run: Run, name: str) -> None:
    """--debug shows tracebacks, and -v the settings; each command fails at another point."""
    ended = run([(*command, "--debug", "-v") for command in COMMANDS], **FAILURES[name])
    assert find_canary(user.directory.parent, *(e.stdout + e.stderr for e in ended)) == []
    assert all("mlq: " in e.stderr and "bug in mlq" not in e.stderr for e in ended), ended


@pytest.mark.parametrize(
    "backend",
    [
        "db+postgresql://user:{}@127.0.0.1:1/db",
        "mongodb://user:{}@127.0.0.1:1/db",
        "azureblockblob://DefaultEndpointsProtocol=https;AccountName=x;AccountKey={};EndpointSuffix=y",
        "no-such-thing://user:{}@127.0.0.1:1/db",
    ],
)
def test_no_result_backend_shows_the_password(user: User, run: Run, broker: str, backend: str) -> None:
    """Celery's own backends raise errors of their drivers in the worker, and the supervisor prints them."""
    url = backend.format(AS)
    ended = run([(*WORKER, "--debug"), ("config", "-v"), ("result", "x", "--debug")], MLQ_RESULT_BACKEND=url)
    assert broker
    assert find_canary(user.directory.parent, *(e.stdout + e.stderr for e in ended)) == []
    assert [e.returncode for e in ended] != [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "url"),
    [
        (("--requirepass", "right"), "redis://:{}@127.0.0.1:{}/0"),
        (("--requirepass", "right"), "redis://user:{}@127.0.0.1:{}/0"),
        (("--requirepass", CANARY, "--cluster-enabled", "yes"), "redis://:{}@127.0.0.1:{}/0"),
        (("--requirepass", CANARY, "--maxmemory-policy", "allkeys-lru"), "redis://:{}@127.0.0.1:{}/0"),
        (("--requirepass", CANARY, "--rename-command", "EVAL", ""), "redis://:{}@127.0.0.1:{}/0"),
        (("--requirepass", CANARY), "redis://:{}@127.0.0.1:{}/99"),
        (("--requirepass", CANARY), "rediss://:{}@127.0.0.1:{}/0"),
        (("--requirepass", CANARY), "amqp://user:{}@127.0.0.1:{}//"),
    ],
    ids=["wrong", "wrong-user", "cluster", "evicts", "renamed", "no-database", "no-tls", "no-amqp"],
)
def test_no_server_that_refuses_the_password_shows_it(
    user: User, run: Run, options: tuple[str, ...], url: str, tmp_path: Path
) -> None:
    """The user sees replies of the server and errors of the client libraries."""
    with serving(tmp_path, *options) as port:
        broker = url.format(AS, port)
        ended = run([(*command, "--debug") for command in COMMANDS], MLQ_BROKER_URL=broker)
    assert find_canary(user.directory.parent, *(e.stdout + e.stderr for e in ended)) == []
    assert any(e.returncode for e in ended)
    assert all("bug in mlq" not in e.stderr for e in ended), ended


@pytest.fixture
def server_with_password(user: User, tmp_path: Path) -> Iterator[int]:
    """Run a server that asks for the canary."""
    write_files(user.directory)
    with serving(tmp_path, "--requirepass", CANARY) as port:
        user.environment["MLQ_BROKER_URL"] = f"redis://:{AS}@127.0.0.1:{port}/0"
        # Unused on Redis, but shown by `celery inspect stats`.
        user.environment["MLQ_BROKER_TRANSPORT_OPTIONS"] = json.dumps({"sentinel_kwargs": {"password": CANARY}})
        yield port


INSPECTED = ("stats", "conf", "report")

TASKS = """
import os, sys
from celery import shared_task

@shared_task
def leak():
    print(os.environ["MLQ_BROKER_URL"])
    sys.stderr.write(os.environ["MLQ_BROKER_URL"] + "\\n")
    os.system("echo $MLQ_BROKER_URL; env >&2")
    raise ValueError("done")
"""


@pytest.mark.parametrize("command", [WORKER, PREFORK], ids=["engine", "prefork"])
def test_no_worker_shows_a_password_that_is_changed(
    user: User, server_with_password: int, command: tuple[str, ...]
) -> None:
    """Supervisor, workers, their logs and state files, their client names in Redis, and every command line."""
    user.write("own.py", TASKS)
    user.environment["MLQ_WORKER_IMPORTS"] = "own"
    workers = Running([*command, "-v"], user.environment, user.directory)
    try:
        workers.wait_for("ready after")
        user.write("tasks.json", [{"task": "own.leak", "args": []}])
        sent = user.run("submit", "tasks.json", "--tasks", "--wait")
        with stock_client(user.environment["MLQ_BROKER_URL"]) as client:
            replies = [client.control.broadcast(name, reply=True, timeout=10, limit=1) for name in INSPECTED]
        lines = [" ".join(p.cmdline()) for p in psutil.Process(workers.process.pid).children(recursive=True)]
        assert lines
        with Redis(port=server_with_password, password=CANARY) as redis:
            held = [repr(redis.dump(key)) for key in redis.scan_iter()]
            redis.config_set("requirepass", "another")
            redis.client_kill_filter(_type="normal", skipme=True)
        workers.wait_for("invalid username-password pair")
        refused = user.run("queues", "--debug")
        with Redis(port=server_with_password, password="another") as redis:  # noqa: S106 (of the test)
            redis.config_set("requirepass", CANARY)
        assert workers.end() == 0
    finally:
        workers.process.kill()  # its workers die with the supervisor
        workers.close()
    assert all(replies), replies
    said = [*workers.lines, *map(str, replies), *lines, *held, sent.stdout, sent.stderr, refused.stdout, refused.stderr]
    assert sum("redis://:***@127.0.0.1" in line for line in workers.lines) >= 4, workers.lines
    assert find_canary(user.directory.parent, *said) == []


def test_a_supervisor_that_loses_its_server_does_not_show_the_password(user: User, tmp_path: Path) -> None:
    """The supervisor is detached, so all its output is in its log."""
    write_files(user.directory)
    with serving(tmp_path, "--requirepass", CANARY) as port:
        user.environment["MLQ_BROKER_URL"] = f"redis://:{AS}@127.0.0.1:{port}/0"
        begun = user.run(*WORKER, "--detach", "-v", "--debug")
        assert begun.returncode == 0, begun.stderr
        shown = user.run("worker", "logs")
        supervisors = [p for p in psutil.process_iter(["cmdline"]) if _is_ours(p, user)]
        assert len(supervisors) == 1
        lines = [" ".join(p.cmdline()) for p in (supervisors[0], *supervisors[0].children(recursive=True))]
    user.until(
        lambda: "lost" in _logged(user) or "heartbeats cannot be written" in _logged(user),
        "it says that its server is away",
    )
    supervisors[0].terminate()
    supervisors[0].wait(60)
    assert find_canary(user.directory.parent, begun.stderr, shown.stdout, shown.stderr, *lines) == []


def _logged(user: User) -> str:
    return "".join(file.read_text() for file in (user.state / "logs").glob("*"))


def _is_ours(process: psutil.Process, user: User) -> bool:
    try:
        is_command = "start" in (process.info["cmdline"] or ()) and "mlq" in process.info["cmdline"]
        return is_command and process.cwd() == str(user.directory)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def test_the_search_finds_the_canary(tmp_path: Path) -> None:
    """In a text, in a file, in base64 and in hex."""
    (tmp_path / "file").write_bytes(base64.b64encode(b"user:" + _RAW + b"@host"))
    assert find_canary(tmp_path, AS, _RAW.hex()) == ["text 0", "text 1", str(tmp_path / "file")]
