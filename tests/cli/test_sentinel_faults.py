"""Sentinels that name no primary: redis-py says the same of all of them, mlq says which it is."""

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
from tests.servers import free_port, serving

pytestmark = pytest.mark.server

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]
COMMANDS = (["queues"], ["submit", "row.json"], ["worker", "start", "--cpus", "1", "--model", "serve.py:Model"])
STAYS_DOWN_MS: Final = 1500
"""A Sentinel reconnects once a second; after this time its answer no longer changes."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as stack:
        yield stack


def watching(stack: ExitStack, directory: Path, primary: int, *lines: str, down_after_ms: int = 200) -> int:
    """Run a Sentinel that watches a primary, and needs another Sentinel to do anything about it."""
    home = directory / "sentinel"
    home.mkdir()
    watched = (f"monitor mymaster 127.0.0.1 {primary} 2", f"down-after-milliseconds mymaster {down_after_ms}")
    configuration = home / "sentinel.conf"
    configuration.write_text("\n".join([*(f"sentinel {line}" for line in watched), *lines]) + "\n")
    return stack.enter_context(serving(home, str(configuration), "--sentinel"))


def refused(mlq: Mlq, place: Path, url: str, name: str, code: int) -> list[str]:
    """Run every command; give the two lines that all of them wrote."""
    (place / "row.json").write_text("[1]")
    (place / "serve.py").write_text("class Model:\n    def predict(self, rows):\n        return rows\n")
    options = f'{{"master_name": "{name}"}}'
    said = []
    for command in COMMANDS:
        ended = mlq(*command, MLQ_BROKER_URL=url, MLQ_BROKER_TRANSPORT_OPTIONS=options)
        assert ended.returncode == code, (command, ended.stderr)
        said.append(ended.stderr.splitlines())
        assert len(said[-1]) == 2, ended.stderr
    assert said == [said[0]] * len(COMMANDS)
    return said[0]


def test_a_name_that_no_sentinel_knows_is_a_setting_to_correct(
    mlq: Mlq, stack: ExitStack, state: Path, place: Path
) -> None:
    """Exit 3, with the names that they know."""
    at = watching(stack, state, stack.enter_context(serving(state)))
    happened, hint = refused(mlq, place, f"sentinel://127.0.0.1:{at}", "mymister", 3)
    assert "knows a primary 'mymister'; they know: mymaster" in happened
    assert "master_name in MLQ_BROKER_TRANSPORT_OPTIONS" in hint


def test_sentinels_that_do_not_answer_are_named_one_by_one(mlq: Mlq, place: Path) -> None:
    """Exit 4: they may come."""
    one, two = free_port(), free_port()
    url = f"sentinel://127.0.0.1:{one};sentinel://127.0.0.1:{two}"
    happened, hint = refused(mlq, place, url, "mymaster", 4)
    assert "no Sentinel answers" in happened
    assert f":{one}" in happened.partition("answers")[2]
    assert f":{two}" in happened.partition("answers")[2]
    assert hint.startswith("hint: start them, or name those that run in MLQ_BROKER_URL")


def test_a_primary_that_is_down_with_too_few_sentinels_to_elect_another(
    mlq: Mlq, stack: ExitStack, state: Path, place: Path
) -> None:
    """Exit 4, with Sentinel's own word on the quorum."""
    at, primary = with_a_dead_primary(stack, state, down_after_ms=200)
    # When Sentinel connects again for the first time, within a second, it takes the primary for up once more.
    until(lambda: int(seen(at).get("s-down-time", 0)) >= STAYS_DOWN_MS, "Sentinel takes the primary for down for good")
    happened, hint = refused(mlq, place, f"sentinel://127.0.0.1:{at}", "mymaster", 4)
    assert f"regard primary 'mymaster' as down (127.0.0.1:{primary}, " in happened
    assert "NOQUORUM" in happened
    assert f"redis-cli -h 127.0.0.1 -p {at} SENTINEL CKQUORUM mymaster" in hint


def test_a_primary_that_is_down_while_sentinel_still_takes_it_for_up(
    mlq: Mlq, stack: ExitStack, state: Path, place: Path
) -> None:
    """Exit 4, with the address that Sentinel names: it may also be one that this host does not reach."""
    at, primary = with_a_dead_primary(stack, state, down_after_ms=600_000)
    happened, hint = refused(mlq, place, f"sentinel://127.0.0.1:{at}", "mymaster", 4)
    assert "refused" in happened
    assert f"regard primary 'mymaster' as up (127.0.0.1:{primary}, " in happened
    assert hint.startswith(f"hint: start it, or let this host reach 127.0.0.1:{primary} if it runs")


def with_a_dead_primary(stack: ExitStack, directory: Path, down_after_ms: int) -> tuple[int, int]:
    """Run a Sentinel whose primary has died; give the ports of both, of which no other server can take the second."""
    with serving(directory) as primary:
        at = watching(stack, directory, primary, down_after_ms=down_after_ms)
        until(lambda: "disconnected" not in seen(at)["flags"], "Sentinel has seen the primary")
    kept = stack.enter_context(socket.socket())
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", primary))
    return at, primary


def test_a_sentinel_that_is_away_is_asked_no_more_often_than_the_next(mlq: Mlq, stack: ExitStack, state: Path) -> None:
    """Of several hosts one may be down. redis-py would try that one four times, with pauses, before the next one."""
    at = watching(stack, state, stack.enter_context(serving(state)))
    asked = Counting(stack)
    url = f"sentinel://127.0.0.1:{asked.port};sentinel://127.0.0.1:{at}"
    ended = mlq("queues", MLQ_BROKER_URL=url, MLQ_BROKER_TRANSPORT_OPTIONS='{"master_name": "mymaster"}')
    assert ended.returncode == 0, ended.stderr
    with Redis(port=at, socket_timeout=5) as sentinel:
        assert 1 <= asked.times <= sentinel.info("stats")["total_connections_received"]


class Counting:
    """A server that ends each connection, and counts them."""

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


def seen(port: int) -> Mapping[str, str]:
    """Ask a Sentinel what it thinks of its primary."""
    with Redis(port=port, socket_timeout=5) as sentinel:
        found: Any = sentinel.execute_command("SENTINEL MASTER", "mymaster")
    return cast("Mapping[str, str]", found)  # redis-py makes a dictionary of the reply


def test_a_server_that_is_no_sentinel_and_a_sentinel_that_wants_a_password(
    mlq: Mlq, stack: ExitStack, state: Path, place: Path
) -> None:
    """Exit 4: refused, and why."""
    plain = stack.enter_context(serving(state))
    happened, hint = refused(mlq, place, f"sentinel://127.0.0.1:{plain}", "mymaster", 4)
    assert "unknown command" in happened
    assert "that is no Sentinel" in hint
    locked = watching(stack, state, plain, "requirepass p")
    happened, hint = refused(mlq, place, f"sentinel://127.0.0.1:{locked}", "mymaster", 4)
    assert f"refuses: 127.0.0.1:{locked}: " in happened
    assert "sentinel_kwargs" in hint
