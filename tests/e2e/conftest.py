"""Fixtures of the end-to-end tests: the user's own tasks beside the model, and a look into the broker."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.conftest import House


@pytest.fixture
def ran(house: House) -> Callable[[], list[str]]:
    """Put own_tasks.py where workers are started, and give what its tasks write down."""
    shutil.copy(Path(__file__).with_name("own_tasks.py"), house.directory)
    log = house.directory / "ran.log"
    return lambda: log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def inside(broker: str) -> Iterator[Redis]:
    """Look into the embedded broker."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=10) as redis:
        yield redis
