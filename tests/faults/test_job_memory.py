"""Memory during a job: the window limits it in the client and in Redis, for files of any size."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import job_memory

pytestmark = pytest.mark.server


def test_the_memory_of_client_and_redis_does_not_grow_with_the_file(state: Path) -> None:
    """50,000 rows are 20 MB of messages and answers; eight chunks are in flight at the same time."""
    small = job_memory.run(state / "small", 5_000, "--max-inflight", "8", "-q")
    large = job_memory.run(state / "large", 50_000, "--max-inflight", "8", "-q")
    assert large.in_order, str(large)
    assert large.client_mib < min(150, small.client_mib + 15), f"{small}\n{large}"
    assert large.redis_mib < small.redis_mib + 6, f"{small}\n{large}"
