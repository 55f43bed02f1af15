"""A password that is changed in its file and on the server under load: no task is lost, and no process restarts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from chaos.wire import Wire
from tests import rabbitmq
from tests.conftest import Running, Start, User
from tests.rabbitmq import RabbitServer
from tests.server_programs import serving

pytestmark = pytest.mark.server

USER = "mlq"
ADMIN = "of-the-admin"
ROWS = 400


@dataclass
class Rotated:
    """A server with a user whose password is in a file."""

    admin: Redis
    port: int
    file: Path
    number: int = 0
    scheme: str = "redis"
    at: int = 0

    def write(self) -> None:
        """Replace the file in one step, as secret managers do."""
        new = self.file.with_name("new")
        new.write_text(f"{self.scheme}://{USER}:{self.password}@127.0.0.1:{self.at or self.port}/0\n")
        new.chmod(0o600)
        new.replace(self.file)

    @property
    def password(self) -> str:
        """The current password, with characters that are escaped in a URL."""
        return f"r0tated%2F{self.number}"

    def allow(self) -> None:
        """Let the user log in with the current password and the one before."""
        self._acl(f">{self.password.replace('%2F', '/')}")

    def rotate(self) -> None:
        """Add a password, write it to the file, remove the old one, and close the user's connections."""
        old = self.password.replace("%2F", "/")
        self.number += 1
        self.allow()
        self.write()
        self._acl(f"<{old}")
        self.admin.execute_command("CLIENT", "KILL", "USER", USER)  # type: ignore[no-untyped-call]

    def _acl(self, rule: str) -> None:
        self.admin.execute_command("ACL", "SETUSER", USER, "on", "~*", "&*", "+@all", rule)  # type: ignore[no-untyped-call]


@pytest.fixture
def rotated(user: User, tmp_path: Path) -> Iterator[Rotated]:
    """Configure the user's URL only by its file; other users need a password on the server."""
    with serving(tmp_path, "--requirepass", ADMIN) as port, Redis(port=port, password=ADMIN) as admin:
        found = Rotated(admin, port, user.directory / "broker-url")
        found.allow()
        found.write()
        user.environment["MLQ_BROKER_URL_FILE"] = str(found.file)
        yield found


def wait_for_answers(user: User, number: int) -> None:
    """Wait until the output has more lines than this."""
    output = user.directory / "out.jsonl"
    user.until(lambda: output.exists() and output.read_bytes().count(b"\n") > number, f"{number} answers are there")


def check(user: User, submitting: Running, workers: Running, pids: dict[str, int], *, twice: bool = False) -> None:
    """Check that every row was answered once, by the processes of the start.

    Without claims some rows may run `twice`.
    """
    assert submitting.wait() == 0, submitting.lines
    lines = [json.loads(line) for line in (user.directory / "out.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(ROWS))
    assert {line["status"] for line in lines} == {"ok"}
    assert workers.pids() == pids
    assert all(os.path.exists(f"/proc/{pid}") for pid in pids.values())  # noqa: PTH110 (the path is a string)
    assert not [line for line in workers.lines if "r0tated" in line]
    ran = [line for line in (user.directory / "model.log").read_text().splitlines() if line.startswith("start")]
    assert len({line.rpartition(" ")[0] for line in ran}) == ROWS
    assert twice or len(ran) == ROWS


def start_submit(user: User) -> Running:
    """Send rows that take a while, and collect them."""
    user.write("rows.json", [{"row": number, "sleep": 0.02} for number in range(ROWS)])
    return user.command("submit", "rows.json", "--wait", "-o", "out.jsonl")


@pytest.mark.parametrize(
    "how", [("--cpus", "2"), ("--pool", "prefork", "--concurrency", "2")], ids=["engine", "prefork"]
)
def test_workers_and_a_submit_go_on_with_the_new_password(
    user: User, start: Start, rotated: Rotated, how: tuple[str, ...]
) -> None:
    """The password is changed three times while rows run and their results are collected."""
    workers = start(*how, ready=2 if "--cpus" in how else 1)
    pids = workers.pids()
    submitting = start_submit(user)
    for number in (ROWS // 5, 2 * ROWS // 5, 3 * ROWS // 5):
        wait_for_answers(user, number)
        rotated.rotate()
    check(user, submitting, workers, pids, twice="--pool" in how)
    assert user.json("worker")["workers"]


def test_the_server_may_change_before_the_file(user: User, start: Start, rotated: Rotated) -> None:
    """In this order no connection succeeds for a while, and the processes wait."""
    workers = start("--cpus", "1")
    pids = workers.pids()
    submitting = start_submit(user)
    wait_for_answers(user, ROWS // 5)
    old = rotated.password.replace("%2F", "/")
    rotated.number += 1
    rotated.allow()
    rotated._acl(f"<{old}")
    rotated.admin.execute_command("CLIENT", "KILL", "USER", USER)  # type: ignore[no-untyped-call]
    workers.wait_for("invalid username-password pair")
    rotated.write()
    check(user, submitting, workers, pids)


def test_without_the_file_the_last_password_is_used(user: User, start: Start, rotated: Rotated) -> None:
    """Each process logs it once, and uses the next file."""
    workers = start("--cpus", "1")
    pids = workers.pids()
    submitting = start_submit(user)
    rotated.file.unlink()
    rotated.admin.execute_command("CLIENT", "KILL", "USER", USER)  # type: ignore[no-untyped-call]
    workers.wait_for("cannot be used; the last known password stays in use: No such file")
    rotated.write()
    rotated.rotate()
    check(user, submitting, workers, pids)


def test_workers_behind_sentinel_go_on_with_the_new_password(
    user: User, start: Start, rotated: Rotated, tmp_path: Path
) -> None:
    """The password belongs to the primary, which Sentinel names."""
    configuration = tmp_path / "sentinel.conf"
    lines = (f"monitor mymaster 127.0.0.1 {rotated.port} 1", f"auth-pass mymaster {ADMIN}")
    configuration.write_text("".join(f"sentinel {line}\n" for line in lines))
    with serving(tmp_path, str(configuration), "--sentinel") as port:
        rotated.scheme, rotated.at = "sentinel", port
        rotated.write()
        user.environment["MLQ_BROKER_TRANSPORT_OPTIONS"] = '{"master_name": "mymaster"}'
        workers = start("--cpus", "1")
        pids = workers.pids()
        submitting = start_submit(user)
        wait_for_answers(user, ROWS // 5)
        rotated.rotate()
        check(user, submitting, workers, pids)


@pytest.fixture
def node() -> Iterator[RabbitServer]:
    """Run RabbitMQ."""
    with rabbitmq.running() as server:
        yield server


@pytest.mark.timeout(600)
@pytest.mark.skipif(rabbitmq.missing() is not None, reason=str(rabbitmq.missing()))
def test_workers_of_rabbitmq_go_on_with_the_new_password(
    user: User, start: Start, broker: str, node: RabbitServer
) -> None:
    """Its users have one password each, so the file may be wrong for a while. That is an outage, and ends no worker."""
    wire = Wire(node.port)
    file = user.directory / "broker-url"

    def write(password: str) -> None:
        new = user.write("new", f"amqp://guest:{password}@127.0.0.1:{wire.port}//\n")
        new.chmod(0o600)
        new.replace(file)

    write("guest")
    user.environment |= {"MLQ_BROKER_URL_FILE": str(file), "MLQ_STATE_URL": broker, "MLQ_RESULT_BACKEND": broker}
    workers = start("--cpus", "1")
    pids = workers.pids()
    submitting = start_submit(user)
    wait_for_answers(user, ROWS // 5)
    write("r0tated")
    wire.cut()
    workers.wait_for("Login was refused")
    write("guest")
    check(user, submitting, workers, pids, twice=True)
    wire.close()


def test_an_autoscaler_goes_on_with_the_new_password(user: User, rotated: Rotated) -> None:
    """Workers that it starts after the change read the current file."""
    argv = ("autoscale", "--queue", "realtime", "--model", "serve.py:Model", "--cpus", "2", "--interval", "0.5")
    scaling = user.command(*argv, "--min", "1", "--max", "2")
    try:
        scaling.wait_for("ready after")
        pids = scaling.pids()
        rotated.rotate()
        user.write("rows.json", [{"row": number, "sleep": 0.3} for number in range(60)])
        done = user.run("submit", "rows.json", "--queue", "realtime", "--wait")
        assert done.returncode == 0, done.stderr
        scaling.wait_for("ready after", times=2)
        assert pids.items() <= scaling.pids().items()
        assert scaling.end() == 0
    finally:
        scaling.process.kill()  # its workers die with the autoscaler
        scaling.close()
