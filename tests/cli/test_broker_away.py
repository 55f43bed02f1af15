"""A broker that is not there, and one that is there and says nothing."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]

PATIENCE_S = 10.0
"""A person's; mlq means to take half of it."""

COMMANDS = [
    ["queues"],
    ["worker"],
    ["submit", "row.json"],
    ["result", "3f2a9c41"],
    ["queues", "purge", "batch", "--yes"],
]


@pytest.fixture
def refused() -> str:
    """The URL of a port on which no process listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    return f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that accepts and never answers: frozen, or behind a firewall that swallows."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


@pytest.mark.parametrize("kind", ["refused", "silent"])
@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_a_broker_that_is_away_is_two_lines_soon(
    mlq: Mlq, kind: str, args: list[str], place: Path, request: pytest.FixtureRequest
) -> None:
    """Exit 4, the address and where it was set, and what to do; scripts must not hang."""
    url = request.getfixturevalue(kind)
    (place / "row.json").write_text("[1, 2]")
    begun = time.monotonic()
    ended = mlq(*args, MLQ_BROKER_URL=url)
    assert time.monotonic() - begun < PATIENCE_S
    assert (ended.returncode, ended.stdout) == (4, "")
    happened, hint = ended.stderr.splitlines()
    assert happened.startswith(f"mlq: cannot reach the broker at {url} (from MLQ_BROKER_URL): ")
    assert hint.startswith("hint: ")
    assert "MLQ_BROKER_URL" in hint


def test_without_any_broker_the_hint_is_how_to_start_one(mlq: Mlq) -> None:
    """Nothing configured, nothing running."""
    ended = mlq("queues")
    assert ended.returncode == 4
    assert "`mlq up`" in ended.stderr.splitlines()[1]
