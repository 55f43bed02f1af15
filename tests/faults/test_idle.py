"""The load that an idle worker puts on the server if it is the only one, and so watches the queues itself."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from chaos.faultkit import World, until
from chaos.wire import Wire

MLQ = str(Path(sys.executable).with_name("mlq"))
WINDOW_S = 15.0
A_SECOND = 3.5  # measured: 2.5 to 2.9, with and without a supervisor. The lease is 1 of these, the heartbeat 0.5.


@pytest.mark.parametrize("supervised", [True, False])
def test_a_single_idle_worker_sends_about_three_requests_a_second(
    remote: World, wire: Wire, *, supervised: bool
) -> None:
    """Its supervisor's requests are included. Several workers of one supervisor cost less each: see test_server.py."""
    if supervised:
        worker = remote.run([MLQ, "worker", "start", "--cpus", "1"], "fleet")
        until(lambda: "ready after" in worker.log.read_text(), "it is ready", why_not=worker.log.read_text)
    else:
        worker = remote.start("alone")
        worker.wait_ready()
    until(lambda: bool(remote.redis.hlen("mlq:watches")), "it watches")
    before = wire.requests
    time.sleep(WINDOW_S)  # the requests are counted while no task runs
    assert 0 < (wire.requests - before) / WINDOW_S <= A_SECOND
    assert worker.stop() == 0
