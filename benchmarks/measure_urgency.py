"""A realtime row while batch saturates the same worker, beside the same row on an idle worker.

The promise is the p99 of the idle worker plus one forward: a row waits for the running forward, never for the chunk.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from benchmarks import inputs, model
from benchmarks.celery_client import CeleryClient
from benchmarks.findings import MLQ, PLAIN, Finding, at_most, percentile
from benchmarks.scale import Scale
from benchmarks.stage import Contender, Stage
from benchmarks.turns import turns

_CHUNK: Final = 256
_CHUNK_S: Final = _CHUNK / model.ROWS_AT_ONCE[model.SLOW] * model.FORWARD_S
_SLOWEST_ASK_S: Final = 3 * _CHUNK_S
"""Seconds including the pause before it. It decides the size of the backlog, which must last to the end."""


def measure(stage: Stage, scale: Scale) -> Sequence[Finding]:
    """Send rows at random moments; forwards take 10 ms, chunks of 256 rows run in forwards of 32."""
    contenders = {MLQ: stage.mlq(model.SLOW), PLAIN: stage.plain(model.SLOW)}
    random = stage.random()
    for contender in contenders.values():
        contender.client.ask(inputs.numbers(random, 1)[0])
    idle: dict[str, list[float]] = {who: [] for who in contenders}
    busy: dict[str, list[float]] = {who: [] for who in contenders}
    for who in turns(list(contenders), scale.rounds):
        idle[who] += _ask(contenders[who], scale.asks // 2, random)
        busy[who] += _ask_busy(contenders[who], scale.asks // 2, random)
    # Of all rounds together: one round has too few requests for a meaningful 99th percentile.
    return _findings(*({who: [percentile(ms, 0.99)] for who, ms in found.items()} for found in (idle, busy)))


def _findings(idle: Mapping[str, list[float]], busy: Mapping[str, list[float]]) -> Sequence[Finding]:
    allowed = "idle p99 + one forward"
    promise = {MLQ: busy[MLQ], allowed: [i + 1e3 * model.FORWARD_S for i in idle[MLQ]], PLAIN: busy[PLAIN]}
    return [
        Finding("realtime row, idle worker with forwards of 10 ms, p99", "ms", idle, (MLQ, PLAIN)),
        Finding("realtime row while batch saturates the worker, p99", "ms", promise, (MLQ, allowed), at_most(1)),
        Finding("the same, beside the plain setup", "ms", busy, (MLQ, PLAIN)),
    ]


def _ask_busy(contender: Contender[CeleryClient], asks: int, random: np.random.Generator) -> list[float]:
    chunk = inputs.numbers(random, _CHUNK)
    backlog = contender.client.fill_chunks([chunk] * (2 + int(asks * _SLOWEST_ASK_S / _CHUNK_S)))
    try:
        backlog.release()
        took = _ask(contender, asks, random)
        lasted = backlog.waiting() > 0
    finally:
        backlog.drop()
    contender.client.ask_chunk(chunk)  # the rows that the worker held are finished after this
    if not lasted:
        raise RuntimeError("batch ran dry while realtime was measured")
    return took


def _ask(contender: Contender[CeleryClient], asks: int, random: np.random.Generator) -> list[float]:
    """Send rows one by one. The pause puts each row anywhere in a chunk; without it all would come at its start."""
    row, took = inputs.numbers(random, 1)[0], []
    for _ in range(asks):
        time.sleep(random.uniform(0, _CHUNK_S))
        began = time.perf_counter()
        contender.client.ask(row)
        took.append(1e3 * (time.perf_counter() - began))
    return took
