"""`mlq acl` prints lines that a server accepts, and no password."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from mlq.commands.acl import AclFormat
from tests.security import users
from tests.server_programs import serving

pytestmark = pytest.mark.server

CANARY = "c4n4ry with spaces"
HASH = hashlib.sha256(CANARY.encode()).hexdigest()


def run_acl(*argv: str, given: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command without configuration."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLQ_", "CELERY_"))}
    return subprocess.run(
        [sys.executable, "-m", "mlq", "acl", *argv],
        input=given,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def server_with_selectors(redis: Redis) -> Redis:
    """Return a server that has selectors."""
    info: Any = redis.info("server")
    if int(info["redis_version"].partition(".")[0]) < 7:
        pytest.skip("selectors, of which the roles are made, come with Redis 7")
    return redis


@pytest.mark.parametrize("argv", [[], ["--format", "file"], ["--json"], ["-v"], ["--debug"]], ids=" ".join)
def test_only_the_hash_of_a_password_is_printed(argv: list[str]) -> None:
    """It comes from stdin, and is neither in the line nor in a message."""
    done = run_acl("client", "--password-stdin", *argv, given=f"{CANARY}\nsecond line\n")
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert f"#{HASH}" in done.stdout


def test_a_password_is_asked_for_on_a_terminal_and_not_echoed() -> None:
    """It is asked for twice, because the input is not visible."""
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "mlq", "acl", "client", "--password-stdin"]
    with subprocess.Popen(
        argv, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as asking:
        os.close(theirs)
        assert asking.stderr is not None
        talk = b""
        for _ in range(2):
            while not talk.endswith(b": "):  # earlier input is discarded
                talk += asking.stderr.read(1)
            os.write(ours, f"{CANARY}\n".encode())
            talk += b"|"
        answer, rest = asking.communicate(timeout=60)
        talk += rest
    os.close(ours)
    assert asking.returncode == 0, talk
    assert f"#{HASH}".encode() in answer
    assert CANARY.encode() not in answer + talk


@pytest.mark.parametrize("given", ["", "\n", "x" * 5000])
def test_an_invalid_password_is_refused(given: str) -> None:
    """With an empty one every client could log in as that user."""
    done = run_acl("client", "--password-stdin", given=given)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "openssl rand" in done.stderr


def test_a_line_without_a_password_gives_no_access(server_with_selectors: Redis) -> None:
    """A new user stays off. An existing user keeps its password, and loses the rights that the line does not name."""
    line = run_acl("client", "--queue", "realtime").stdout.rstrip("\n")
    server_with_selectors.execute_command(*line.split(" "))  # type: ignore[no-untyped-call]
    made: Any = server_with_selectors.acl_getuser("client")
    assert "off" in made["flags"]
    assert made["passwords"] == []
    server_with_selectors.acl_setuser("client", enabled=True, passwords=["+kept"], keys=["other"], commands=["+get"])
    server_with_selectors.execute_command(*line.split(" "))  # type: ignore[no-untyped-call]
    kept: Any = server_with_selectors.acl_getuser("client")
    assert "on" in kept["flags"]
    assert len(kept["passwords"]) == 1
    assert "+get" not in str(kept["commands"]).split()
    assert "other" not in str(kept["keys"])


def read_rights(redis: Redis, name: str) -> list[set[Any]]:
    """Return the rights of a user without their order: a server lists the commands in the order of a hash table."""
    found: Any = redis.acl_getuser(name)
    plain = [{str(one) for one in found[part]} for part in ("keys", "commands", "categories", "channels")]
    return [
        *plain,
        {frozenset(word for part in selector for word in str(part).split()) for selector in found["selectors"]},
    ]


def test_a_server_starts_with_the_lines_as_its_acl_file(server_with_selectors: Redis, state: Path) -> None:
    """All three roles are in one file with the given password, in the same form as for the prompt."""
    lines = [users.line(role, AclFormat.FILE) for role in users.ROLES]
    file = state / "users.acl"
    file.write_text("user default on nopass ~* &* +@all\n" + "\n".join(lines) + "\n")
    with serving(state, "--aclfile", str(file)) as port:
        for role in users.ROLES:
            with Redis(port=port, username=role, password=users.PASSWORD) as user:
                assert user.ping()
            users.make(server_with_selectors, role)
            with Redis(port=port) as admin:
                assert read_rights(admin, role) == read_rights(server_with_selectors, role)
        with Redis(port=port, username="client", password="wrong") as stranger, pytest.raises(AuthenticationError):  # noqa: S106
            stranger.ping()


@pytest.mark.parametrize("queue", ["a*", "a?b", "a[b]", "a\\b", 'a"b', "a'b", "a b", "a(b)", "große", "a|b", "~a"])
def test_the_line_opens_exactly_the_named_queue(server_with_selectors: Redis, queue: str) -> None:
    """A name is not a pattern: a queue `a*` does not open a queue `ab`.

    A character that a line cannot contain becomes `?`.
    """
    line = run_acl("client", "--queue", queue).stdout.rstrip("\n")
    server_with_selectors.execute_command(*line.split(" "))  # type: ignore[no-untyped-call]
    for key in (queue, f"{queue}\x06\x169"):
        assert users.dry_run(server_with_selectors, "client", "LPUSH", key, "m") == "OK", line
    for other in ("ab", "a-longer-name", "a", "mlq:paused", f"{queue}-2", f"{queue}\x06\x161"):
        assert users.dry_run(server_with_selectors, "client", "LPUSH", other, "m") != "OK", (other, line)


@pytest.mark.parametrize(
    ("argv", "environ", "what"),
    [
        (["worker", "--queue", "a"], {}, "every key"),
        (["client", "--user", "a b"], {}, "is not a user name"),
        (["client", "--user", "a\nb"], {}, "is not a user name"),
        (["client", "--user", ""], {}, "is not a user name"),
        (["client", "--queue", "a\x1bb"], {}, "control characters"),
        (["client", "--queue", "a", "--queue", "a"], {}, "twice"),
        (["admin"], {}, "'admin' is not one of"),
        ([], {}, "Missing argument"),
    ],
)
def test_contradicting_options_are_refused(argv: list[str], environ: dict[str, str], what: str) -> None:
    """Two lines and exit code 2, before anything is read or printed."""
    done = run_acl(*argv, **environ)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 2)
    assert what in done.stderr.splitlines()[0]


def test_the_queues_and_databases_are_those_of_the_configuration() -> None:
    """No server is asked, and none runs there. A database other than 0 needs SELECT, which opens all databases."""

    def read(**environ: str) -> Any:
        return json.loads(run_acl("client", "--json", "-q", MLQ_QUEUES="fast,slow", **environ).stdout)

    here = read(MLQ_BROKER_URL="redis://127.0.0.1:1/0")
    assert here["queues"] == ["fast", "slow", "celery"]
    assert "-select" in here["rules"]
    elsewhere = read(MLQ_BROKER_URL="redis://127.0.0.1:1/0", MLQ_RESULT_BACKEND="redis://127.0.0.1:1/2")
    assert "+select" in elsewhere["rules"]
    assert elsewhere["line"].startswith("ACL SETUSER client resetkeys clearselectors resetchannels -@all %W~fast ")
