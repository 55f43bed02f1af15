"""The server's CPU time per message with one waiting worker, and with many: it must not grow with their number."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from redis import Redis

from benchmarks.findings import Finding, at_most
from benchmarks.scale import Scale
from benchmarks.server import WAITING
from benchmarks.stage import Stage
from benchmarks.turns import turns
from mlq.protocol import keys

_QUEUE: Final = "waiting"
_NUMBERS: Final = {f"{n} waiting": n for n in (1, 40, 200)}
_AT_ONCE: Final = 50
"""The number of light workers in a process."""

_EVERY_S: Final = 0.01
"""Seconds between two messages: all workers wait again before the next one comes."""

_MESSAGE: Final = b'{"body": "W1sxXSwge30sIHt9XQ==", "headers": {"task": "mlq.predict", "id": "%d"}, "properties": {}}'


def measure(stage: Stage, scale: Scale) -> Sequence[Finding]:
    """Send messages one by one to 1, then 40, then 200 idle workers without a model."""
    stage.clear()
    micros: dict[str, list[float]] = {who: [] for who in _NUMBERS}
    for who in turns(list(_NUMBERS), scale.rounds):
        micros[who].append(_with(stage, _NUMBERS[who], scale.waiting_messages))
    what = "server's CPU a message, light workers"
    return [
        Finding(what, "µs", {few: micros[few], many: micros[many]}, (many, few), at_most(2))
        for few, many in (("1 waiting", "40 waiting"), ("1 waiting", "200 waiting"))
    ]


def _with(stage: Stage, workers: int, messages: int) -> float:
    redis = stage.server.redis(WAITING)
    redis.flushdb()
    with _waiting(stage, workers):
        _until(lambda: redis.zcard(keys.LEASES) == workers and redis.hlen(keys.WATCHES) == 1)
        for n in range(workers):  # a worker that starts reads all queues first
            _send(redis, n)
        before = stage.server.cpu_s()
        for n in range(messages):
            _send(redis, n)
        return (stage.server.cpu_s() - before) / messages * 1e6


def _send(redis: Redis, number: int) -> None:
    redis.lpush(_QUEUE, _MESSAGE % number)
    time.sleep(_EVERY_S)
    _until(lambda: not redis.exists(_QUEUE))


@contextmanager
def _waiting(stage: Stage, workers: int) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.waiting", stage.server.socket, str(WAITING), _QUEUE]
    sizes = [min(_AT_ONCE, workers - n) for n in range(0, workers, _AT_ONCE)]
    processes = [subprocess.Popen([*command, str(size)], stdin=subprocess.PIPE) for size in sizes]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError("the light workers take nothing")
        time.sleep(0.001)
