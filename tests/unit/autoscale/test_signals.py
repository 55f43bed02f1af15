"""The observation that an autoscaler makes from heartbeats and queues."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from mlq.autoscale.live.signals import Signals
from mlq.autoscale.policy.observation import Observation
from mlq.autoscale.policy.policy import Policy, Tuning
from mlq.store.queues.depth import QueueDepth
from mlq.store.workers.heartbeats import Heartbeat

BEAT = Heartbeat(
    id="h:cpu0:1", name="cpu0", host="h", pid=1, gpu=None, device="cpu", state="idle", queues=("realtime",), model="m",
    fingerprint=None, task=None, tasks_done=0, rows_done=0, started_at=1e9, rss_bytes=1, since=1e9, ready_s=1.0,
)  # fmt: skip
MINE = frozenset({"h:cpu0"})


def make_signals(every_s: float = 2.0) -> Signals:
    """Make signals whose clock advances with each look."""
    clock = count(100.0, every_s)
    return Signals("realtime", is_default=False, clock=lambda: next(clock))


def depth(ready: int = 0, in_flight: int | None = 0) -> list[QueueDepth]:
    """Return the depth of one queue."""
    return [QueueDepth("realtime", ready, in_flight, None, None, None)]


@pytest.mark.parametrize("state", ["hung", "failed"])
def test_a_worker_that_takes_no_work_is_not_capacity(state: str) -> None:
    """celery#10205: alive, answering pings, not consuming; kubernetes#79158: a failed one that is taken for one."""
    signals, policy = make_signals(), Policy(Tuning())
    for _ in range(5):
        decision = policy.decide(signals.observe(depth(ready=1), [replace(BEAT, state=state)], MINE))
    assert (decision.live, decision.starting) == (0, 0)
    assert decision.want == 1


def test_a_clock_jump_on_another_host_has_no_effect() -> None:
    """Heartbeats carry their host's clock; durations are measured on this host."""
    signals = make_signals()
    signals.observe(depth(), [BEAT], MINE)
    for jump in (-3600.0, 3600.0, 1e8):
        moved = replace(BEAT, since=BEAT.since + jump, started_at=BEAT.started_at + jump)
        (worker,) = signals.observe(depth(), [moved], MINE).workers
        assert 0 < worker.idle_s < 10
        assert worker.age_s < 11


def test_the_batch_limit_of_a_worker_is_observed() -> None:
    """The number of workers depends on the size of a full batch; older versions do not report it."""
    seen = make_signals().observe(depth(), [replace(BEAT, max_batch_size=8), replace(BEAT, id="old")], MINE)
    assert [w.max_batch_size for w in seen.workers] == [8, None]


def test_an_unknown_figure_of_a_queue_stays_unknown() -> None:
    """With 0 running tasks a worker could be drained during its task."""
    seen: Observation = make_signals().observe(depth(in_flight=None), [BEAT], MINE)
    assert seen.in_flight is None
    assert Policy(Tuning(least=0)).decide(seen).action == "hold"


def test_a_booked_place_without_a_heartbeat_counts_as_starting() -> None:
    """Otherwise its place would be filled again at every look until the first heartbeat."""
    (worker,) = make_signals().observe(depth(), [], MINE).workers
    assert (worker.state, worker.mine) == ("starting", True)
