"""Real servers for tests: private, started here, stopped by pid."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from mlq.broker import embedded


@pytest.fixture
def state() -> Iterator[Path]:
    """A private state directory with a short path: pytest's own are too long for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="mlq-test-") as directory:
        yield Path(directory)


@pytest.fixture
def server(state: Path) -> Iterator[embedded.Server]:
    """A server of this test alone, with every write on disk before it is answered."""
    server = embedded.Server(embedded.program(), state, appendfsync="always")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis(server: embedded.Server) -> Iterator[Redis]:
    """A plain client of that server."""
    with Redis(unix_socket_path=server.url.removeprefix("redis+socket://"), socket_timeout=10) as client:
        yield client
