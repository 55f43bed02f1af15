"""The resident memory of a worker after many messages, beside the same worker after a tenth of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks import inputs, model
from benchmarks.findings import Finding, at_most
from benchmarks.scale import Scale
from benchmarks.stage import Stage

_AT_ONCE: Final = 5_000
_MEBIBYTE: Final = 2**20


def measure(stage: Stage, scale: Scale) -> Sequence[Finding]:
    """Read the memory of a worker that has just started early and late in a backlog."""
    stage.clear()
    contender, random = stage.mlq(model.SMALL), stage.random()
    looks: list[float] = []
    done = 0
    for goal in scale.resident:
        while done < goal:
            backlog = contender.client.fill(inputs.numbers(random, min(_AT_ONCE, goal - done)))
            backlog.release()
            if not backlog.wait():
                raise RuntimeError(f"after {done} messages no more were answered")
            backlog.check()
            done += len(backlog.ids)
        looks.append(contender.process.rss_bytes() / _MEBIBYTE)
    early, late = (f"after {n:,}" for n in scale.resident)
    return [
        Finding(
            "resident memory of mlq's worker", "MiB", {early: looks[:1], late: looks[1:]}, (late, early), at_most(1.05)
        )
    ]
