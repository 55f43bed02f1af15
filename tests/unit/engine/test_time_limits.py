"""Which time limit applies, and what the supervisor does with a worker that exceeds it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from mlq.engine.activity import Recycling
from mlq.engine.time_limits import Limit, TimeLimits, effective
from mlq.exit_codes import ExitCode
from mlq.ipc.shared_pages import WorkerReport
from mlq.supervisor.events import Abandon, Abort, Began, Died, Kill, Overdue, Start
from mlq.supervisor.recovery.death import Death, Overrun
from mlq.supervisor.supervisor import Phase, Supervisor

WORKER = Limit(soft=30.0, hard=40.0)


@pytest.mark.parametrize(
    ("message", "task", "limit"),
    [
        (None, {}, Limit(30.0, 40.0)),
        ([None, None], {}, Limit(30.0, 40.0)),
        ([None, None], {"soft_time_limit": 3, "time_limit": 4}, Limit(3, 4)),
        ([2, 1], {"soft_time_limit": 3, "time_limit": 4}, Limit(1, 2, by_message=True)),
        ([2, None], {"soft_time_limit": 3}, Limit(3, 2, by_message=True)),
        ([1e-6, 1e-9], {}, Limit(1, 1, by_message=True)),
        ([None, 1e-9], {"time_limit": 4}, Limit(1, 4)),
        ("soon", {}, Limit(30.0, 40.0)),
    ],
)
def test_a_limit_of_the_message_precedes_that_of_the_task_and_of_the_worker(
    message: Any, task: dict[str, int], limit: Limit
) -> None:
    """Soft and hard limits are chosen separately; Celery's header has the hard limit first."""
    assert effective(message, SimpleNamespace(**task), WORKER) == limit


@pytest.fixture
def limits() -> Iterator[TimeLimits]:
    """Timers whose signal handler is installed."""
    before = signal.getsignal(signal.SIGALRM)
    limits = TimeLimits(Limit(), WorkerReport(), lambda: None)
    signal.signal(signal.SIGALRM, limits._expired)
    yield limits
    signal.signal(signal.SIGALRM, before)


def test_a_span_within_a_span_has_the_limit_of_the_outer_one(limits: TimeLimits) -> None:
    """The limit of a task covers its forwards, whose end must not cancel it."""

    def outer() -> None:
        with limits.over(Limit(soft=0.05)):
            with limits.over(Limit(soft=60.0)):
                pass
            time.sleep(30)

    with pytest.raises(SoftTimeLimitExceeded):
        outer()


def test_a_signal_after_its_span_interrupts_nothing(limits: TimeLimits) -> None:
    """The signal was pending when the span ended."""
    with limits.over(Limit(soft=60.0)):
        pass
    signal.raise_signal(signal.SIGALRM)


def test_the_report_shows_a_deadline_while_the_span_runs() -> None:
    """It names the claims, so that only these are suspected."""
    seen: list[tuple[bool, list[str]]] = []
    report = WorkerReport()
    limits = TimeLimits(Limit(), report, lambda: seen.append((report.deadline is not None, list(report.under))))
    with limits.over(Limit(hard=60.0), ["1", "2"]):
        assert report.limit_s == 60.0
    assert seen == [(True, ["1", "2"]), (False, [])]


def test_a_worker_that_exceeds_its_hard_limit_is_aborted_then_killed_then_given_up() -> None:
    """Each happens once; its slot stays unused, even if the worker dies later."""
    fleet = Supervisor(["gpu0", "gpu1"])
    fleet.step(Began(), at=0.0)
    steps = [fleet.step(Overdue("gpu0", by_s), at=100.0 + by_s) for by_s in (-5, 1, 2, 3, 5, 6, 10, 11)]
    assert steps == [[], [], [Abort("gpu0")], [], [Kill("gpu0")], [], [Abandon("gpu0")], []]
    assert fleet.slots()[0].phase is Phase.ABANDONED
    assert fleet.step(Died("gpu0", -9), at=1000.0) == []
    assert fleet.running == ["gpu1"]


def test_a_message_that_exceeds_its_limit_alone_is_guilty_and_one_of_several_a_suspect() -> None:
    """A single one would exceed it again; of several it is unknown whose rows took so long."""
    alone = Death("w", 1, asked=False, overrun=Overrun(2.0, ["1"])).crash
    assert alone is not None
    assert (alone.limit, alone.claims, alone.circumstances["reason"]) == (1, ["1"], "hard-time-limit")
    assert Death("w", 1, asked=True, overrun=Overrun(2.0, ["1"])).crash is None


def test_a_recycled_worker_is_always_replaced_at_once() -> None:
    """Its end is planned, so there is no backoff and no verdict."""
    fleet = Supervisor(["gpu0"])
    fleet.step(Began(), at=0.0)
    for at in range(20):
        assert fleet.step(Died("gpu0", ExitCode.RECYCLED), float(at)) == [Start("gpu0")]


def test_a_worker_is_recycled_after_its_tasks_or_above_its_memory() -> None:
    """The memory is read once a second, not after every turn."""
    now = [0.0]
    looks = iter([100, 101])
    recycling = Recycling(10, 100, resident=lambda: next(looks), clock=lambda: now[0])
    assert recycling.reason(9) is None
    assert recycling.reason(10) == "10 tasks done, of 10"
    now[0] = 1.0
    assert recycling.reason(9) is None
    assert recycling.reason(9) is None, "the memory is not read again within a second"
    now[0] = 2.0
    assert recycling.reason(9) == "101 bytes in memory, of 100"


UNSETTABLE = [
    Limit(soft=-1.0, hard=60.0),
    Limit(soft=-0.5),
    Limit(soft=float("nan"), hard=60.0),
    Limit(hard=-1.0),
    Limit(hard=-0.5),
    Limit(soft=30.0, hard=float("nan")),
    Limit(hard=1e300),
]


@pytest.mark.parametrize("answers", [False, True])
@pytest.mark.parametrize("limit", [*UNSETTABLE, Limit(soft=1e300)], ids=str)
def test_a_limit_that_cannot_be_set_leaves_none_behind(limits: TimeLimits, limit: Limit, answers: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    """A timer left behind would end the process during a later task; an open span would disable all timers."""
    if answers:
        limits.answer_first(lambda _: None)
    with pytest.raises((ValueError, OverflowError, OSError)), limits.over(limit):
        raise AssertionError("it began")
    assert limits._report.deadline is None
    with pytest.raises(SoftTimeLimitExceeded), limits.over(Limit(soft=0.01)):
        time.sleep(30)
