"""What an autoscaler is made to believe by heartbeats, and what it must not believe."""

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


def looks(every_s: float = 2.0) -> Signals:
    """Make signals whose clock moves on with each look."""
    clock = count(100.0, every_s)
    return Signals("realtime", is_default=False, clock=lambda: next(clock))


def depth(ready: int = 0, in_flight: int | None = 0) -> list[QueueDepth]:
    """A queue as it was read."""
    return [QueueDepth("realtime", ready, in_flight, None, None, None)]


@pytest.mark.parametrize("state", ["hung", "failed"])
def test_a_worker_that_takes_nothing_is_no_capacity(state: str) -> None:
    """celery#10205: alive, answering pings, not consuming; kubernetes#79158: a failed one that is taken for one."""
    signals, policy = looks(), Policy(Tuning())
    for _ in range(5):
        decision = policy.decide(signals.observe(depth(ready=1), [replace(BEAT, state=state)], MINE))
    assert (decision.live, decision.starting) == (0, 0)
    assert decision.want == 1


def test_a_clock_that_jumps_on_another_host_means_nothing() -> None:
    """Heartbeats carry their host's clock. What counts is for how long it is seen from here."""
    signals = looks()
    signals.observe(depth(), [BEAT], MINE)
    for jump in (-3600.0, 3600.0, 1e8):
        moved = replace(BEAT, since=BEAT.since + jump, started_at=BEAT.started_at + jump)
        (worker,) = signals.observe(depth(), [moved], MINE).workers
        assert 0 < worker.idle_s < 10
        assert worker.age_s < 11


def test_the_batch_limit_of_a_worker_is_seen() -> None:
    """What a full batch is decides how many workers are needed; one of an older version does not tell."""
    seen = looks().observe(depth(), [replace(BEAT, max_batch_size=8), replace(BEAT, id="old")], MINE)
    assert [w.max_batch_size for w in seen.workers] == [8, None]


def test_what_is_unknown_of_a_queue_stays_unknown() -> None:
    """Zero in flight would let a worker go that is the only one to know of its task."""
    seen: Observation = looks().observe(depth(in_flight=None), [BEAT], MINE)
    assert seen.in_flight is None
    assert Policy(Tuning(least=0)).decide(seen).action == "hold"


def test_a_worker_that_was_booked_and_is_not_heard_of_yet_starts() -> None:
    """Else its place would be filled again with every look until its first heartbeat."""
    (worker,) = looks().observe(depth(), [], MINE).workers
    assert (worker.state, worker.mine) == ("starting", True)
