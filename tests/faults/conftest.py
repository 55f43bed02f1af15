"""Fixtures of the fault tests: a server, workers without a supervisor, and a connection that can be cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import faultkit
from chaos.faultkit import World
from chaos.wire import Wire
from mlq.broker import embedded


@pytest.fixture
def faulty(state: Path) -> Iterator[embedded.Server]:
    """Run a server whose append-only file is never rewritten, so that it shows everything that was recorded."""
    server = faultkit.serve(state)
    yield server
    server.stop()


@pytest.fixture
def world(state: Path, faulty: embedded.Server) -> Iterator[World]:
    """Return workers on a socket, which only a fault of the server disturbs."""
    world = World(state, faulty.url)
    yield world
    world.close()


@pytest.fixture
def wire(faulty: embedded.Server) -> Iterator[Wire]:
    """Run a proxy between the workers and the server: a TCP port that the test can freeze, cut and refuse."""
    wire = Wire(faulty.url.removeprefix("redis+socket://"))
    yield wire
    wire.close()


@pytest.fixture
def remote(state: Path, wire: Wire) -> Iterator[World]:
    """Return workers that reach the server through the proxy; the test itself reads the server directly."""
    world = World(state, f"redis://127.0.0.1:{wire.port}/0")
    yield world
    world.close()
