"""Sentinels that name no primary: redis-py has one error for all reasons, mlq names the reason."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, cast

import pytest
from redis import Redis

from chaos.faultkit import until
from tests.server_programs import free_port, serving

pytestmark = pytest.mark.server

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]
COMMANDS = (["queues"], ["submit", "row.json"], ["worker", "start", "--cpus", "1", "--model", "serve.py:Model"])
STAYS_DOWN_MS: Final = 1500
"""A Sentinel reconnects once a second, so its answer no longer changes after this time."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Collect what ends with the test."""
    with ExitStack() as stack:
        yield stack


def run_sentinel(stack: ExitStack, directory: Path, primary: int, *lines: str, down_after_ms: int = 200) -> int:
    """Run a Sentinel that watches a primary, and that needs another Sentinel to elect a new one."""
    home = directory / "sentinel"
    home.mkdir()
    watched = (f"monitor mymaster 127.0.0.1 {primary} 2", f"down-after-milliseconds mymaster {down_after_ms}")
    configuration = home / "sentinel.conf"
    configuration.write_text("\n".join([*(f"sentinel {line}" for line in watched), *lines]) + "\n")
    return stack.enter_context(serving(home, str(configuration), "--sentinel"))


def run_every_command(mlq: Mlq, place: Path, url: str, name: str, code: int) -> list[str]:
    """Run every command; return the two lines that all of them wrote."""
    (place / "row.json").write_text("[1]")
    (place / "serve.py").write_text("class Model:\n    def predict(self, rows):\n        return rows\n")
    options = f'{{"master_name": "{name}"}}'
    errors = []
    for command in COMMANDS:
        ended = mlq(*command, MLQ_BROKER_URL=url, MLQ_BROKER_TRANSPORT_OPTIONS=options)
        assert ended.returncode == code, (command, ended.stderr)
        errors.append(ended.stderr.splitlines())
        assert len(errors[-1]) == 2, ended.stderr
    assert errors == [errors[0]] * len(COMMANDS)
    return errors[0]


def test_a_name_that_no_sentinel_knows_is_a_setting_to_correct(
    mlq: Mlq, stack: ExitStack, state: Path, place: Path
) -> None:
    """The exit code is 3, and the hint lists the names that the Sentinels know."""
    at = run_sentinel(stack, state, stack.enter_context(serving(state)))
    happened, hint = run_every_command(mlq, place, f"sentinel://127.0.0.1:{at}", "mymister", 3)
    assert "knows a primary 'mymister'; known primaries: mymaster" in happened
    assert "master_name in MLQ_BROKER_TRANSPORT_OPTIONS" in hint


def test_sentinels_that_do_not_answer_are_named_one_by_one(mlq: Mlq, place: Path) -> None:
    """The exit code is 4, because they may come back."""
    one, two = free_port(), free_port()
    url = f"sentinel://127.0.0.1:{one};sentinel://127.0.0.1:{two}"
    happened, hint = run_every_command(mlq, place, url, "mymaster", 4)
    assert "no Sentinel answers" in happened
    assert f":{one}" in happened.partition("answers")[2]
    assert f":{two}" in happened.partition("answers")[2]
    assert hint.startswith("hint: start them, or name those that run in MLQ_BROKER_URL")


def test_a_primary_that_is_down_with_too_few_sentinels_to_elect_another(
    mlq: Mlq, stack: ExitStack, state: Path, place: Path
) -> None:
    """The exit code is 4, with Sentinel's own reply about the quorum."""
    at, primary = run_sentinel_of_dead_primary(stack, state, down_after_ms=200)
    # When Sentinel reconnects for the first time, within a second, it reports the primary as up once more.
    until(
        lambda: int(primary_flags(at).get("s-down-time", 0)) >= STAYS_DOWN_MS,
        "Sentinel takes the primary for down for good",
    )
    happened, hint = run_every_command(mlq, place, f"sentinel://127.0.0.1:{at}", "mymaster", 4)
    assert f"regard primary 'mymaster' as down (127.0.0.1:{primary}, " in happened
    assert "NOQUORUM" in happened
    assert f"redis-cli -h 127.0.0.1 -p {at} SENTINEL CKQUORUM mymaster" in hint


def test_a_primary_that_is_down_while_sentinel_still_reports_it_as_up(
    mlq: Mlq, stack: ExitStack, state: Path, place: Path
) -> None:
    """The exit code is 4, with the address that Sentinel names: this host may not reach that address."""
    at, primary = run_sentinel_of_dead_primary(stack, state, down_after_ms=600_000)
    happened, hint = run_every_command(mlq, place, f"sentinel://127.0.0.1:{at}", "mymaster", 4)
    assert "refused" in happened
    assert f"regard primary 'mymaster' as up (127.0.0.1:{primary}, " in happened
    assert hint.startswith(f"hint: start it, or let this host reach 127.0.0.1:{primary} if it runs")


def run_sentinel_of_dead_primary(stack: ExitStack, directory: Path, down_after_ms: int) -> tuple[int, int]:
    """Run a Sentinel whose primary has died; return both ports, of which no other server can take the second."""
    with serving(directory) as primary:
        at = run_sentinel(stack, directory, primary, down_after_ms=down_after_ms)
        until(lambda: "disconnected" not in primary_flags(at)["flags"], "Sentinel has seen the primary")
    kept = stack.enter_context(socket.socket())
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", primary))
    return at, primary


def test_a_sentinel_that_is_away_is_asked_no_more_often_than_the_others(
    mlq: Mlq, stack: ExitStack, state: Path
) -> None:
    """One of several hosts may be down. redis-py would try it four times, with pauses, before the next one."""
    at = run_sentinel(stack, state, stack.enter_context(serving(state)))
    asked = CountingServer(stack)
    url = f"sentinel://127.0.0.1:{asked.port};sentinel://127.0.0.1:{at}"
    ended = mlq("queues", MLQ_BROKER_URL=url, MLQ_BROKER_TRANSPORT_OPTIONS='{"master_name": "mymaster"}')
    assert ended.returncode == 0, ended.stderr
    with Redis(port=at, socket_timeout=5) as sentinel:
        assert 1 <= asked.times <= sentinel.info("stats")["total_connections_received"]


class CountingServer:
    """A server that ends each connection, and counts the connections."""

    def __init__(self, stack: ExitStack) -> None:
        self.times = 0
        self._listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port: int = self._listening.getsockname()[1]
        thread = threading.Thread(target=self._count, daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(self._listening.shutdown, socket.SHUT_RDWR)

    def _count(self) -> None:
        with suppress(OSError):  # the test has ended
            while True:
                self._listening.accept()[0].close()
                self.times += 1


def primary_flags(port: int) -> Mapping[str, str]:
    """Return a Sentinel's flags of its primary."""
    with Redis(port=port, socket_timeout=5) as sentinel:
        found: Any = sentinel.execute_command("SENTINEL MASTER", "mymaster")
    return cast("Mapping[str, str]", found)  # redis-py turns the reply into a dictionary


def test_a_server_that_is_no_sentinel_and_a_sentinel_that_asks_for_a_password(
    mlq: Mlq, stack: ExitStack, state: Path, place: Path
) -> None:
    """The exit code is 4, and the error says why the server refused."""
    plain = stack.enter_context(serving(state))
    happened, hint = run_every_command(mlq, place, f"sentinel://127.0.0.1:{plain}", "mymaster", 4)
    assert "unknown command" in happened
    assert "that is no Sentinel" in hint
    locked = run_sentinel(stack, state, plain, "requirepass p")
    happened, hint = run_every_command(mlq, place, f"sentinel://127.0.0.1:{locked}", "mymaster", 4)
    assert f"refuses: 127.0.0.1:{locked}: " in happened
    assert "sentinel_kwargs" in hint
