"""Fixtures of the security tests: a look into the broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis


@pytest.fixture
def inside(broker: str) -> Iterator[Redis]:
    """Look into the embedded broker."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=10) as redis:
        yield redis
