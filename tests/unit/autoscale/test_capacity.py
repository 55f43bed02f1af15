"""The capacity of one worker, estimated from the durations of its forwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple

import numpy as np
import pytest

from mlq.autoscale.policy.capacity import Capacity, worker_capacity, workers_needed
from mlq.autoscale.policy.observation import WorkerSample
from mlq.autoscale.policy.service import ServiceMeter, ServiceRate


def met(seconds: Callable[[int], float], rows: tuple[int, ...], limit: int | None = None) -> ServiceRate:
    """Return the rate of one worker after forwards of these numbers of rows, each row a task."""
    meter, sums, done = ServiceMeter(), np.zeros(6), 0
    found = meter.look(0.0, [WorkerSample("w", "busy", 0, 0, 0.0, age_s=9.0)], 1800.0)
    for n in range(400):
        b = rows[n % len(rows)]
        s = seconds(b)
        sums += (1, b, s, b * b, b * s, s * s)
        done += b
        seen = WorkerSample(
            "w", "busy", done, done, float(sums[2]), 9.0, rows_done=done, forwards=tuple(sums), max_batch_size=limit
        )
        found = meter.look(0.1 * (n + 1), [seen], 1800.0)
    return found


def test_the_capacity_is_that_of_full_batches() -> None:
    """At low load it runs two rows at a time, 10 ms each; with 64 rows it is seven times as fast."""
    service = met(lambda b: 0.020 + 0.001 * b, (1, 2, 3))
    assert service.rate == pytest.approx(1 / 0.011, rel=0.01)
    assert astuple(worker_capacity(service, 2.0)) == pytest.approx((64 / 0.084, 0.084))


def test_the_workers_report_the_size_of_a_full_batch() -> None:
    """A model with batches of 4 is four times as slow as one with batches of 64; old workers report no size."""
    four = worker_capacity(met(lambda b: 0.020 + 0.001 * b, (1, 2, 3), 4), 2.0)
    assert astuple(four) == pytest.approx((4 / 0.024, 0.024))


def test_the_limit_of_the_workers_is_remembered_while_there_is_none() -> None:
    """After scaling to zero the limit of the next worker is known; of several limits the least counts."""
    meter = ServiceMeter()
    three = [
        WorkerSample(f"w{n}", "idle", 0, 0, 0.0, 9.0, max_batch_size=limit) for n, limit in enumerate((8, 4, None))
    ]
    assert [meter.look(at, workers, 1800.0).largest for at, workers in ((0, three[2:]), (2, three), (4, []))] == [
        64,
        4,
        4,
    ]


def test_a_forward_is_no_longer_than_half_of_the_target() -> None:
    """At 0.1 s per row, the last of 64 rows would start far too late."""
    service = met(lambda b: 0.5 + 0.1 * b, (1, 2, 3))
    assert astuple(worker_capacity(service, 2.0)) == pytest.approx((5.0, 1.0))


def test_a_few_larger_batches_are_no_proof_of_a_high_capacity() -> None:
    """The two rows were quick by chance: a line through them would say that 64 rows cost no more than one."""
    random = np.random.default_rng(3)
    times = iter([0.5] * 11 + [0.2] + [float(t) for t in random.lognormal(-0.8, 0.5, 388)])
    service = met(lambda _: next(times), (1,) * 11 + (2,) + (1,) * 388)
    assert worker_capacity(service, 2.0).rate < 2 * service.rate


def test_one_worker_serves_most_of_its_capacity() -> None:
    """Erlang's formula counts forwards: one worker of 762 rows/s serves 650 rows/s, and two serve twice that."""
    each = Capacity(64 / 0.084, 0.084)
    assert [workers_needed(rate, each, 0.1, 2.0, 0.05, 8) for rate in (0, 5, 650, 760, 1300, 1e5)] == [0, 1, 1, 2, 2, 8]
