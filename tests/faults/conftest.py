"""Fixtures of the fault tests: a server, workers that nobody supervises, and a wire that can be cut."""

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
    """A server whose append-only file is never rewritten: it is the witness of what was recorded."""
    server = faultkit.serve(state)
    yield server
    server.stop()


@pytest.fixture
def world(state: Path, faulty: embedded.Server) -> Iterator[World]:
    """Workers on a socket that nothing disturbs but the server's own fate."""
    world = World(state, faulty.url)
    yield world
    world.close()


@pytest.fixture
def wire(faulty: embedded.Server) -> Iterator[Wire]:
    """The workers' way to the server, as a TCP port that the test can freeze, cut and refuse."""
    wire = Wire(faulty.url.removeprefix("redis+socket://"))
    yield wire
    wire.close()


@pytest.fixture
def remote(state: Path, wire: Wire) -> Iterator[World]:
    """Workers that reach the server over the wire; the test itself looks past it."""
    world = World(state, f"redis://127.0.0.1:{wire.port}/0")
    yield world
    world.close()
