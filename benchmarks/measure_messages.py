"""Single-row messages from a backlog: the rate, and the cost of each for its worker and for the server.

The messages are published before the clock starts, so that neither publishing nor the producer's rate is measured.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks import inputs, model
from benchmarks.celery_client import CeleryBacklog
from benchmarks.client import Backlog, Client
from benchmarks.findings import DRAMATIQ, MLQ, PLAIN, RQ, SPAWNED, Finding, at_least, at_most
from benchmarks.process import Process, spent
from benchmarks.scale import Scale
from benchmarks.stage import Contender, Stage
from benchmarks.turns import turns


@dataclass(frozen=True)
class Cost:
    """The figures of one backlog, per message or row."""

    per_s: float
    worker_us: float
    server_us: float


def measure(stage: Stage, scale: Scale) -> Sequence[Finding]:
    """Compare all contenders with results and rows of 16 floats."""
    contenders: Mapping[str, Contender[Client]] = {
        MLQ: stage.mlq(model.SMALL),
        PLAIN: stage.plain(model.SMALL),
        **({SPAWNED: stage.spawned(model.SMALL)} if stage.can_spawn else {}),
        RQ: stage.rq(model.SMALL),
        DRAMATIQ: stage.dramatiq(model.SMALL),
    }
    random = stage.random()
    for contender in contenders.values():
        contender.client.ask(inputs.numbers(random, 1)[0])
    costs: dict[str, list[Cost]] = {who: [] for who in contenders}
    for who in turns(list(contenders), scale.rounds):
        rows = inputs.numbers(random, scale.messages[who])
        backlog = contenders[who].client.fill(rows)
        costs[who].append(cost(stage, contenders[who].process, backlog, len(rows)))
    over = (MLQ, PLAIN)
    per_s = {who: [c.per_s for c in found] for who, found in costs.items()}
    worker = {who: [c.worker_us for c in found] for who, found in costs.items()}
    server = {who: [c.server_us for c in found] for who, found in costs.items()}
    return [
        Finding("worker CPU a single-row message", "µs", worker, over, at_most(0.1)),
        Finding("single-row messages, one worker", "1/s", per_s, over, at_least(10)),
        Finding("Redis CPU a single-row message", "µs", server, over),
    ]


def cost(stage: Stage, process: Process, backlog: Backlog, number: int) -> Cost:
    """Release a backlog of this number of messages (or rows, if a message has several), and measure until its end."""
    cpu, server, began = process.cpu_s(), stage.server.cpu_s(), time.perf_counter()
    backlog.release()
    answered = backlog.wait()
    took = time.perf_counter() - began
    worker = spent(cpu, process.cpu_s())
    server = stage.server.cpu_s() - server
    if not answered:
        raise RuntimeError(f"a backlog of {number} was not answered")
    if isinstance(backlog, CeleryBacklog):
        backlog.check()
    return Cost(number / took, 1e6 * worker / number, 1e6 * server / number)
