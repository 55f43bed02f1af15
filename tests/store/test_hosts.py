"""Six hosts with 40 devices serve two queues: no device is booked twice, no queue gets more workers than wanted."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from benchmarks.autoscale import hosts, workloads


@pytest.mark.timeout(400)  # half a minute of computing on an idle machine
def test_hosts_agree_on_devices_and_places_while_two_queues_step_up_at_once(redis: Redis, tmp_path: Path) -> None:
    """This is the check of benchmarks/AUTOSCALE.md in half the time.

    Without coordination each host would start all the workers.
    """
    traces = {"realtime": workloads.steps(1, 600, 1500), "batch": workloads.steps(2, 600, 1500)}
    for result in hosts.play(traces, redis, tmp_path).values():
        assert (result.booked_twice, result.beyond_want) == (0, 0)
        assert result.in_time >= 0.86, "a step of ten minutes in 25, not in 60"
        assert result.stops > 0
