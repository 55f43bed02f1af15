"""`mlq autoscale` where it only looks: what it tells, and whom it knows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from mlq.broker import embedded, heartbeats
from mlq.broker.heartbeats import Heartbeat

Mlq = Callable[..., "subprocess.CompletedProcess[str]"]
Look = Callable[..., "subprocess.CompletedProcess[str]"]

IDLE = Heartbeat(
    id="h:cpu0:1", name="cpu0", host="h", pid=1, gpu=None, device="cpu", state="idle", queues=("realtime",), model="m",
    fingerprint=None, task=None, tasks_done=0, rows_done=0, started_at=0.0, rss_bytes=1, ready_s=1.0,
)  # fmt: skip


@pytest.fixture
def look(mlq: Mlq, server: embedded.Server) -> Look:
    """Run `mlq autoscale --queue realtime --cpus 4 --once …` beside a server of this test alone."""

    def once(*args: str) -> subprocess.CompletedProcess[str]:
        command = ("autoscale", "--queue", "realtime", "--cpus", "4", "--once", *args)
        return mlq(*command, MLQ_BROKER_URL=server.url)

    return once


def decided(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Read what was decided."""
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_a_look_tells_the_figures_to_people_too(look: Look, redis: Redis) -> None:
    """Not under --json alone; the plain rule asks for none of them."""
    heartbeats.beat(redis, [IDLE])
    said, figures = look().stdout.splitlines()
    assert said.endswith("hold, as many as are needed")
    assert all(name in figures for name in ("arrivals 0/s", "a worker does", "a start takes 1 s", "base 1", "keep "))
    assert "base -" in look("--threshold", "5").stdout
