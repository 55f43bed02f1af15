"""A server that dies, closes its clients' connections, refuses them, or is away when results are stored."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from chaos.faultkit import World, until
from mlq.broker import embedded

_SHORT = {"sleep": 0.005}


def _under_load(world: World, faults: int, fault: Callable[[], object]) -> None:
    """Keep two workers loaded during this number of faults, one after every fifty answered messages."""
    for name in ("one", "other"):
        world.start(name).wait_ready()
    for _ in range(faults):
        world.keep_in_flight(40, lambda: _SHORT)
        answered = len(world.sent) - len(world.unanswered())
        fault()

        def went_on(before: int = answered) -> bool:
            try:
                world.keep_in_flight(40, lambda: _SHORT)
                return len(world.sent) - len(world.unanswered()) >= before + 50
            except (RedisError, OSError):  # the producer's connection breaks, too
                return False

        until(went_on, "messages are answered again", 30, world.whereabouts)
    world.answered()
    assert all(worker.lives for worker in world.workers)
    assert [worker.stop() for worker in world.workers] == [0, 0]
    world.check()


@pytest.mark.timeout(180)
def test_a_server_that_is_killed_under_load_loses_nothing(world: World, faulty: embedded.Server) -> None:
    """With an append-only file every claim is kept: the workers go on, and no result is recorded twice."""

    def kill() -> None:
        pid = faulty.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: faulty.pid != pid and answers(world.redis), "the server is back")

    _under_load(world, 3, kill)


def answers(redis: Redis) -> bool:
    """Return whether a server answers."""
    try:
        return bool(redis.ping())
    except (RedisError, OSError):
        return False


@pytest.mark.timeout(180)
def test_clients_that_are_killed_under_load_reconnect_and_lose_nothing(world: World) -> None:
    """The claims of a lost reply are handed out again, to the same worker."""
    _under_load(world, 10, lambda: world.redis.client_kill_filter(_type="normal"))


def test_idle_workers_send_few_requests(remote: World, wire: Any) -> None:
    """Each sends at most two requests a second, its supervisor included: hundreds may wait at one server."""
    argv = [sys.executable, "-m", "mlq", "worker", "start", "--cpus", "4", "--model", "serve.py:Model"]
    fleet = remote.run(argv, "fleet")
    until(lambda: fleet.log.read_text().count("ready after") == 4, "they are ready")
    until(lambda: bool(remote.redis.hlen("mlq:watches")), "one is idle, and watches")
    before = wire.requests
    threading.Event().wait(9)  # the time over which the rate is counted
    assert (wire.requests - before) / 9 / 4 <= 2
    assert fleet.stop() == 0
