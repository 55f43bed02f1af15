"""Servers that mlq cannot work with: workers at their start, and every command, say what is wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from chaos.faultkit import until
from tests.server_programs import serving

pytestmark = pytest.mark.server

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]

WORKERS = ["worker", "start", "--cpus", "1", "--model", "serve.py:Model"]
READING = [["queues"], ["worker"], ["job"], ["dead"], ["result", "3f2a9c41"], ["queues", "purge", "batch", "--yes"]]
EVERY = (WORKERS, ["submit", "row.json"], *READING)


@dataclass(frozen=True)
class UnusableServer:
    """A server, the URL by which mlq reaches it, and the text that the error must contain."""

    options: tuple[str, ...]
    url: str
    code: int
    reason: str
    hint: str
    prepare: Callable[[Redis], object] = lambda _: None
    commands: tuple[list[str], ...] = (WORKERS, ["submit", "row.json"], ["queues"])


ODD = {
    "cluster": UnusableServer(
        ("--cluster-enabled", "yes"), "redis://{at}/0", 3, "is a cluster", "no cluster", commands=EVERY
    ),
    "cluster-database": UnusableServer(
        ("--cluster-enabled", "yes"), "redis://{at}/1", 3, "is a cluster", "that is no cluster"
    ),
    "no-password-given": UnusableServer(
        ("--requirepass", "p"), "redis://{at}/0", 4, "Authentication required", "put user and password into MLQ_BROKER"
    ),
    "wrong-password": UnusableServer(
        ("--requirepass", "p"), "redis://:q@{at}/0", 4, "invalid username-password", "the right user", commands=EVERY
    ),
    "no-such-user": UnusableServer(
        (), "redis://nobody:q@{at}/0", 4, "invalid username-password", "the right user and password"
    ),
    "user-switched-off": UnusableServer(
        (),
        "redis://off:p@{at}/0",
        4,
        "user is disabled",
        "the right user and password",
        lambda redis: _acl(redis, "off", "off", ">p", "~*", "&*", "+@all"),
    ),
    "no-such-database": UnusableServer(
        (), "redis://{at}/99", 4, "DB index is out of range", "name a database that is there"
    ),
    "maxclients": UnusableServer(
        ("--maxclients", "1"), "redis://{at}/0", 4, "max number of clients", "raise `maxclients`"
    ),
    "replica": UnusableServer(
        ("--replicaof", "127.0.0.1", "1"),
        "redis://{at}/0",
        4,
        "replica",
        "set MLQ_BROKER_URL to",
        commands=(WORKERS, ["submit", "row.json"]),
    ),
    "scripts-renamed": UnusableServer(
        ("--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""),
        "redis://{at}/0",
        4,
        "EVAL",
        "MLQ_BROKER_URL",
        commands=(WORKERS, ["submit", "row.json"]),
    ),
    "no-channels": UnusableServer(
        (),
        "redis://u:p@{at}/0",
        4,
        "the channels /0.celery.pidbox, celery-task-meta-*",
        "ACL SETUSER u '&*'",
        lambda redis: _acl(redis, "u", "on", ">p", "~*", "resetchannels", "+@all", "-@admin", "-@dangerous", "+info"),
        commands=(WORKERS,),
    ),
    "keys-of-another": UnusableServer(
        (),
        "redis://u:p@{at}/0",
        4,
        " key",  # part of "one of the keys" and of "a key"
        "`mlq acl submitter --user u`",
        lambda redis: _acl(redis, "u", "on", ">p", "~other:*", "&*", "+@all"),
        commands=(["submit", "row.json"], ["queues"], ["worker"], ["job"], ["dead"]),
    ),
    "one-command-forbidden": UnusableServer(
        (),
        "redis://u:p@{at}/0",
        4,
        "the commands HSET",
        "ACL SETUSER u +hset",
        lambda redis: _acl(redis, "u", "on", ">p", "~*", "&*", "+@all", "-hset"),
        commands=(WORKERS,),
    ),
}


def _acl(redis: Redis, *rules: str) -> None:
    redis.execute_command("ACL SETUSER", *rules)  # type: ignore[no-untyped-call]


@pytest.fixture
def row_file(place: Path) -> None:
    """Return a file for the commands that read one."""
    (place / "row.json").write_text("[1, 2]")
    (place / "serve.py").write_text("class Model:\n    def predict(self, rows):\n        return rows\n")


@pytest.mark.usefixtures("row_file")
@pytest.mark.parametrize("name", ODD)
def test_every_command_says_why_a_server_cannot_be_used(mlq: Mlq, state: Path, name: str) -> None:
    """Two lines, the right exit code, and a hint for the reason. Workers are not started again and again."""
    odd = ODD[name]
    with ExitStack() as stack:
        port = stack.enter_context(serving(state, *odd.options))
        odd.prepare(stack.enter_context(Redis(port=port)))
        if name == "maxclients":
            occupied: Any = stack.enter_context(Redis(port=port, single_connection_client=True))
            until(lambda: _takes(occupied), "the only place is taken")
        for command in odd.commands:
            ended = mlq(*command, MLQ_BROKER_URL=odd.url.format(at=f"127.0.0.1:{port}"))
            lines = [line for line in ended.stderr.splitlines() if not line.startswith("broker ")]
            assert ended.returncode == odd.code, (command, ended.stderr)
            assert len(lines) == 2, (command, ended.stderr)
            assert lines[0].startswith("mlq: "), (command, ended.stderr)
            assert odd.reason in lines[0], (command, ended.stderr)
            assert "(from MLQ_BROKER_URL)" in lines[0], (command, ended.stderr)
            assert odd.hint in lines[1], (command, ended.stderr)


def _takes(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False
