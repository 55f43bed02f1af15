"""What one worker is taken to be able to do, from what its forwards took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple

import numpy as np
import pytest

from mlq.autoscale.policy.observation import WorkerSample
from mlq.autoscale.policy.service import ServiceMeter, ServiceRate
from mlq.autoscale.policy.staffing import Capacity, capacity, staff


def met(seconds: Callable[[int], float], rows: tuple[int, ...], limit: int | None = None) -> ServiceRate:
    """Let one worker do forwards of so many rows in turn, each of as many tasks of one row."""
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


def test_full_batches_are_what_a_worker_can_do() -> None:
    """At low load it has two rows at a time, and 10 ms each; with 64 it is seven times as fast."""
    service = met(lambda b: 0.020 + 0.001 * b, (1, 2, 3))
    assert service.rate == pytest.approx(1 / 0.011, rel=0.01)
    assert astuple(capacity(service, 2.0)) == pytest.approx((64 / 0.084, 0.084))


def test_a_full_batch_is_what_the_workers_take() -> None:
    """A model that takes four rows at once is four times as slow as one that takes 64; an old worker does not tell."""
    four = capacity(met(lambda b: 0.020 + 0.001 * b, (1, 2, 3), 4), 2.0)
    assert astuple(four) == pytest.approx((4 / 0.024, 0.024))


def test_the_limit_of_the_workers_is_remembered_while_there_is_none() -> None:
    """Scaled to zero, and what the next one will take is known; of several limits the least."""
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
    """A tenth of a second a row: of 64 rows the last would have begun far too late."""
    service = met(lambda b: 0.5 + 0.1 * b, (1, 2, 3))
    assert astuple(capacity(service, 2.0)) == pytest.approx((5.0, 1.0))


def test_a_few_larger_batches_of_tasks_that_vary_promise_little() -> None:
    """By chance the two rows were the quick ones: the line through them would say that 64 cost no more than one."""
    random = np.random.default_rng(3)
    times = iter([0.5] * 11 + [0.2] + [float(t) for t in random.lognormal(-0.8, 0.5, 388)])
    service = met(lambda _: next(times), (1,) * 11 + (2,) + (1,) * 388)
    assert capacity(service, 2.0).rate < 2 * service.rate


def test_a_worker_is_not_full_before_nearly_all_of_it_is_needed() -> None:
    """Forwards are Erlang's customers: of 762 rows a second one worker takes 650, and two take twice that."""
    each = Capacity(64 / 0.084, 0.084)
    assert [staff(rate, each, 0.1, 2.0, 0.05, 8) for rate in (0, 5, 650, 760, 1300, 1e5)] == [0, 1, 1, 2, 2, 8]
