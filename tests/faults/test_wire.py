"""Connections that break without a word, or with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.faultkit import until

if TYPE_CHECKING:
    from benchmarks.faultkit import World


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", ["freeze", "cut"])
def test_a_message_that_arrives_behind_broken_connections_runs_all_the_same(
    remote: World, wire: Any, fault: str
) -> None:
    """A half-open connection swallows what a stock worker had popped, and it hangs for minutes without a log line."""
    worker = remote.start("remote")
    worker.wait_ready()
    remote.send()
    remote.answered(30)
    until(lambda: bool(remote.redis.hlen("mlq:watches")), "the worker is idle, and watches")
    getattr(wire, fault)()
    remote.send()
    remote.answered(30)
    assert worker.lives
    assert worker.stop() == 0
    remote.check()
