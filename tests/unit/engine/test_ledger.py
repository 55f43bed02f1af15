"""The recorder retries with growing pauses, and gives up after the documented time; with a fake clock."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as AwayError

from chaos.faultkit import until
from mlq.engine.ledger import MOST_BYTES, Ledger, Recorder
from mlq.protocol.message import Claim
from mlq.protocol.result import Answer
from mlq.store.claims.completion import Completed, Completion, Successor

GIVES_UP_AFTER_S = 600.0
LONGEST_PAUSE_S = 2.0


class Server:
    """A server that is away until a certain time, with a fake clock and a list of pauses."""

    def __init__(self, back_at: float) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.recorded: list[str] = []
        self._back_at = back_at

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Record a pause, and advance the clock."""
        self.pauses.append(seconds)
        self.now += seconds

    def complete_all(self, batch: Sequence[Completion]) -> list[Completed]:
        """Record a batch, or raise while the server is away."""
        if self.now < self._back_at:
            raise AwayError("away")
        self.recorded += [completion.claim.id for completion in batch]
        return [Completed() for _ in batch]

    def complete(self, completion: Completion) -> Completed:
        """Record one completion, or raise while the server is away."""
        return self.complete_all([completion])[0]


class RecorderSetup:
    """A recorder and its claims, with that server."""

    def __init__(self, back_at: float) -> None:
        self.server = Server(back_at)
        self.ledger = Ledger()
        self.refused: list[Any] = []
        claims: Any = self.server  # stands in for Claims
        refuse = lambda *told: self.refused.append(told)  # noqa: E731 (an argument with a name)
        roomy: Any = SimpleNamespace(is_spent=False, look=lambda: None)  # stands in for Overshoot
        clock, sleep = self.server.clock, self.server.sleep
        self.answering = Recorder(claims, self.ledger, refuse, roomy, clock=clock, sleep=sleep)

    def batch(self, *ids: str) -> list[Completion]:
        """Claim messages, and return their completions."""
        found = [Claim(i, "realtime", 0, b"{}") for i in ids]
        self.ledger.take(found)
        return [Completion(claim) for claim in found]

    def record(self, *batches: list[Completion]) -> None:
        """Hand in batches, and let the thread record all of them."""
        for batch in batches:
            self.answering.record(batch, behind=True)
        self.answering.start()
        self.answering.end(60)
        assert not self.answering.is_alive()


def assert_grow_to_a_bound(pauses: list[float]) -> None:
    """Check that each pause is twice the previous one, up to the longest, which then stays."""
    assert pauses[0] == pytest.approx(0.05)
    assert max(pauses) == LONGEST_PAUSE_S
    assert all(later == min(LONGEST_PAUSE_S, 2 * sooner) for sooner, later in pairwise(pauses))


def test_results_wait_for_a_server_that_comes_back() -> None:
    """They keep their order, and growing pauses cost a hundredth of the requests of a fixed one."""
    desk = RecorderSetup(back_at=500.0)
    first, second = desk.batch("a", "b"), desk.batch("c")
    desk.record(first, second)
    assert_grow_to_a_bound(desk.server.pauses)
    assert desk.server.recorded == ["a", "b", "c"]
    assert desk.ledger.holding == frozenset()


def test_results_are_dropped_after_the_documented_time_and_not_sooner() -> None:
    """Then the worker drops the claims, which Redis still holds: it hands them out, and they run again."""
    desk = RecorderSetup(back_at=GIVES_UP_AFTER_S + 300)
    given_up, kept = desk.batch("a"), desk.batch("b")
    desk.record(given_up, kept)
    assert_grow_to_a_bound(desk.server.pauses[: desk.server.pauses.index(0.05, 1)])
    assert desk.server.recorded == ["b"], "the next batch has its own ten minutes"
    first = sum(desk.server.pauses[: desk.server.pauses.index(0.05, 1)])
    assert GIVES_UP_AFTER_S < first <= GIVES_UP_AFTER_S + LONGEST_PAUSE_S
    assert desk.ledger.holding == frozenset()
    assert desk.refused == [], "a server that is away has not refused"


def test_dropped_results_leave_no_claims_in_the_ledger() -> None:
    """Redis does not hand out messages that a worker says it holds."""
    desk = RecorderSetup(back_at=1e9)
    desk.record(desk.batch("a", "b"))
    assert (desk.server.recorded, desk.ledger.holding) == ([], frozenset())


def test_an_early_acknowledgement_is_retried_without_end() -> None:
    """Its task may run only after it is recorded."""
    desk = RecorderSetup(back_at=3 * GIVES_UP_AFTER_S)
    (completion,) = desk.batch("a")
    assert desk.answering.record_first(completion)
    assert_grow_to_a_bound(desk.server.pauses)
    assert desk.server.now >= 3 * GIVES_UP_AFTER_S
    assert desk.ledger.holding == frozenset()


def test_completions_that_wait_are_bounded_in_bytes() -> None:
    """Four batches of 32 results of 8 MB would take gigabytes of memory while Redis is away."""
    claim = Claim("1-1", "q", 0, b"", None)
    answer = Completion(claim, Answer("k", b"x" * (MOST_BYTES // 4), 0))
    desk = RecorderSetup(back_at=30.0)
    put: list[int] = []

    def hand_in() -> None:
        for n in range(8):
            desk.answering.record([answer], behind=True)
            put.append(n)

    handing = threading.Thread(target=hand_in)
    handing.start()
    until(lambda: len(put) == 4, "as many as there is room for are taken")
    assert not desk.server.recorded
    desk.answering.start()
    handing.join(30)
    assert len(put) == 8
    desk.answering.end(30)
    assert len(desk.server.recorded) == 8


def test_a_batch_that_is_larger_than_the_bound_waits_alone() -> None:
    """Otherwise it would never be recorded, and its worker would wait without end."""
    large = Completion(Claim("1-1", "q", 0, b"", None), Answer("k", b"x" * (2 * MOST_BYTES), 0))
    desk = RecorderSetup(back_at=0.0)
    desk.answering.start()
    desk.answering.record([large], behind=True)
    desk.answering.record([large], behind=True)
    desk.answering.end(30)
    assert len(desk.server.recorded) == 2


def test_a_message_and_its_successors_count_as_well() -> None:
    """All of them are in memory until the end is recorded."""
    claim = Claim("1-1", "q", 0, b"12345", None)
    assert Completion(claim).size == 5
    assert Completion(claim, Answer("k", b"123", 0), (Successor("q", b"12"), Successor("q", b"1"))).size == 11
