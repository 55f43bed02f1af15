"""Submit → result on an idle worker: one row at a time, and every contender in turn within each round."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks import inputs, model
from benchmarks.client import Client
from benchmarks.findings import DRAMATIQ, MLQ, PLAIN, RQ, SPAWNED, Finding, at_most, percentile
from benchmarks.scale import Scale
from benchmarks.stage import Contender, Stage
from benchmarks.turns import turns

_WARM_UP: Final = 5
_IN_A_ROW: Final = 20
"""Requests to one contender before the turn of the next. Alternating after each request would measure the cold caches
of a process that was idle during the requests of all others; an idle dramatiq polls every 50 ms."""

_SELDOM: Final = 10
"""dramatiq gets this many times fewer requests, because all others would wait for its polling."""


def measure(stage: Stage, scale: Scale) -> Sequence[Finding]:
    """Send rows of 16 floats with stock producers, with the small MLP."""
    contenders: Mapping[str, Contender[Client]] = {
        MLQ: stage.mlq(model.SMALL),
        PLAIN: stage.plain(model.SMALL),
        **({SPAWNED: stage.spawned(model.SMALL)} if stage.can_spawn else {}),
        RQ: stage.rq(model.SMALL),
        DRAMATIQ: stage.dramatiq(model.SMALL),
    }
    row = inputs.numbers(stage.random(), 1)[0]
    for contender in contenders.values():
        for _ in range(_WARM_UP):
            contender.client.ask(row)
    rounds = [_round(contenders, row, scale.asks) for _ in range(scale.rounds)]
    middle = {who: [percentile(took[who], 0.5) for took in rounds] for who in contenders}
    # Of all rounds together: one round has too few requests for a meaningful 99th percentile.
    worst = {who: [percentile([ms for took in rounds for ms in took[who]], 0.99)] for who in contenders}
    over = (MLQ, PLAIN)
    return [
        Finding("submit → result, idle worker, p50", "ms", middle, over, at_most(0.8)),
        Finding("submit → result, idle worker, p99", "ms", worst, over),
    ]


def _round(contenders: Mapping[str, Contender[Client]], row: list[float], asks: int) -> Mapping[str, list[float]]:
    took: dict[str, list[float]] = {who: [] for who in contenders}
    for who in turns(list(contenders), max(1, asks // _IN_A_ROW)):
        took[who] += ask(contenders[who].client, row, _IN_A_ROW // (_SELDOM if who == DRAMATIQ else 1))
    return took


def ask(client: Client, row: list[float], number: int) -> list[float]:
    """Send this number of rows one after another; return the milliseconds of each."""
    took = []
    for _ in range(number):
        began = time.perf_counter()
        client.ask(row)
        took.append(1e3 * (time.perf_counter() - began))
    return took
