"""Connections that are closed with a reset or an error. test_reliability.py has those that stop silently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chaos.faultkit import until

if TYPE_CHECKING:
    from chaos.faultkit import World


@pytest.mark.timeout(120)
def test_a_message_that_arrives_behind_cut_connections_still_runs(remote: World, wire: Any) -> None:
    """Half-open connections are a row of chaos/RELIABILITY.md."""
    worker = remote.start("remote")
    worker.wait_ready()
    remote.send()
    remote.answered(30)
    until(lambda: bool(remote.redis.hlen("mlq:watches")), "the worker is idle, and watches")
    wire.cut()
    remote.send()
    remote.answered(30)
    assert worker.lives
    assert worker.stop() == 0
    remote.check()
