"""Sentinels that name no primary: redis-py says the same of all of them, mlq says which it is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from benchmarks.faultkit import until
from tests.servers import free_port, serving

pytestmark = pytest.mark.server

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]
COMMANDS = (["queues"], ["submit", "row.json"], ["worker", "start", "--cpus", "1", "--model", "serve.py:Model"])


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as stack:
        yield stack


def watching(stack: ExitStack, directory: Path, primary: int, *lines: str) -> int:
    """Run a Sentinel that watches a primary, and needs another Sentinel to do anything about it."""
    home = directory / "sentinel"
    home.mkdir()
    watched = (f"monitor mymaster 127.0.0.1 {primary} 2", "down-after-milliseconds mymaster 200")
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
    with serving(state) as primary:
        at = watching(stack, state, primary)
        until(lambda: "down" not in flags(at), "Sentinel has seen the primary")
    until(lambda: "down" in flags(at), "Sentinel takes the primary for down")
    happened, hint = refused(mlq, place, f"sentinel://127.0.0.1:{at}", "mymaster", 4)
    assert f"take primary 'mymaster' for down (127.0.0.1:{primary}, " in happened
    assert "NOQUORUM" in happened
    assert "SENTINEL CKQUORUM mymaster" in hint


def flags(port: int) -> str:
    """Ask a Sentinel what it thinks of its primary."""
    with Redis(port=port, socket_timeout=5) as sentinel:
        found = sentinel.execute_command("SENTINEL MASTER", "mymaster")
    return str(found["flags"] if isinstance(found, dict) else found)


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
