"""Lease renewals are not delayed by work on messages, neither in the process nor on the server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from chaos.faultkit import until
from mlq.liveness.lease_renewer import LeaseThread
from mlq.protocol import keys
from mlq.store.claims import held
from mlq.store.claims.claims import ClaimLimit, Claims, LeaseLost
from mlq.store.claims.leases import AlreadyReaped, Crash, Leases, Reaped
from mlq.store.messages.dead_letters import DeadLetters
from mlq.store.messages.delays import Delays, Due
from mlq.store.queues import depth

if TYPE_CHECKING:
    from redis import Redis

WID, OTHER = "host:cpu0:1", "host:cpu1:1"
MANY = 2500
"""A number of claims that needs several steps to be given back."""


@pytest.fixture
def leases(redis: Redis) -> Leases:
    """Return leases that last one second."""
    return Leases(redis, 1000)


@pytest.fixture
def renewing(redis: Redis, leases: Leases) -> Iterator[LeaseThread]:
    """Renew one worker's lease in a thread."""
    leases.register(WID)
    thread = LeaseThread(redis, leases, lambda: [WID], lost=lambda _: None)
    thread.start()
    yield thread
    thread.end()
    thread.join()


def lease_deadline(redis: Redis) -> float:
    """Return the time until which the worker's lease is valid."""
    return float(redis.zscore(keys.LEASES, WID) or 0)


def wait_for_renewals(redis: Redis, times: int = 4) -> None:
    """Wait until the lease was renewed this number of times."""
    for _ in range(times):
        before = lease_deadline(redis)
        until(lambda before=before: lease_deadline(redis) > before, "the lease is renewed")  # type: ignore[misc]


def file_claims(redis: Redis, number: int, wid: str = WID) -> None:
    """File messages under a worker, as if it had claimed them in this order."""
    record = {f"1-{i}": b"0 1 q%d" % i for i in range(number)}
    redis.hset(keys.claims(wid), mapping=record)  # type: ignore[arg-type]


def delay_messages(redis: Redis, number: int) -> None:
    """Delay messages of a queue that no worker serves; all are due, each later than the one before."""
    for start in range(0, number, 10_000):
        members: Any = {f"1-{i} 0 1 q{i}": i for i in range(start, min(number, start + 10_000))}
        redis.zadd("later", members)
    redis.hset(keys.DELAYED, "q", str(number))
    redis.rename("later", keys.DELAYS)


def test_leases_are_renewed_while_a_flood_of_delayed_messages_is_moved(redis: Redis, renewing: LeaseThread) -> None:
    """Moving 700,000 due messages took longer than a lease lasts, and every worker was killed."""
    assert renewing.is_alive()
    delay_messages(redis, number := 200_000)
    until(lambda: redis.llen("q") > 0, "the first are moved")
    seen = set()
    while redis.zcard(keys.DELAYS):
        seen.add(lease_deadline(redis))
    assert len(seen) > 1, "renewed in the midst of it"
    assert redis.llen("q") == number
    assert [redis.lindex("q", -1), redis.lindex("q", 0)] == [b"0", b"%d" % (number - 1)]
    assert not redis.exists(keys.DELAYED)


@pytest.mark.parametrize("what", ["moving", "reaping", "logging"])
def test_work_that_a_renewal_finds_does_not_delay_the_next_renewal(
    what: str, redis: Redis, leases: Leases, renewing: LeaseThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moving messages, reaping a worker's claims and logging to a stderr that is never read may block without end."""
    begun, over = threading.Event(), threading.Event()

    def never_ends(*_: object, **__: object) -> Due:
        begun.set()
        over.wait()
        return Due(0, None)

    class Stopped(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            never_ends(record)

    handler = Stopped()
    monkeypatch.setattr(Delays, "move_due", never_ends)
    monkeypatch.setattr(Leases, "reap_expired", never_ends)
    monkeypatch.setattr(logging.getLogger("mlq.lease"), "handlers", [handler])
    try:
        if what == "moving":
            delay_messages(redis, 1)
        elif what == "reaping":
            leases.register(OTHER)
        else:
            renewing._lost = lambda _: None
            redis.zrem(keys.LEASES, WID)
        assert begun.wait(30)
        leases.register(WID)
        wait_for_renewals(redis)
    finally:
        over.set()


def test_the_claims_of_a_dead_worker_are_given_back_in_portions_and_in_order(redis: Redis, leases: Leases) -> None:
    """One step for all of them would block the server, and with it the renewals of every worker."""
    leases.register(WID)
    file_claims(redis, MANY)
    redis.rpush("q", "waited")
    assert leases.reap(WID, to="head") == Reaped(MANY, None)
    assert redis.lrange("q", 0, -1) == [b"waited", *(b"%d" % i for i in reversed(range(MANY)))]
    assert leases.reap(WID, to="head") == AlreadyReaped()


@pytest.mark.parametrize("known", [None, [f"1-{i}" for i in range(MANY - 1)]])
def test_a_crash_with_very_many_claims_makes_all_of_them_suspects(
    known: list[str] | None, redis: Redis, leases: Leases
) -> None:
    """If the running messages are known, only those become suspects.

    No crash is counted, because it is unknown which message caused it.
    """
    leases.register(WID)
    file_claims(redis, MANY)
    assert leases.reap(WID, to="tail", crash=Crash(claims=known)) == Reaped(MANY, None)
    assert redis.hlen(keys.CRASHES) == (MANY if known is None else MANY - 1)
    assert set(redis.hvals(keys.CRASHES)) == {b"0"}
    assert redis.lrange("q", 0, -1) == [b"%d" % i for i in reversed(range(MANY))]


def test_the_crash_is_counted_for_the_running_message_though_very_many_were_claimed(
    redis: Redis, leases: Leases
) -> None:
    """A worker may die of one message while a batch of thousands is staged behind it."""
    leases.register(WID)
    file_claims(redis, MANY)
    reaped = leases.reap(WID, to="tail", crash=Crash(limit=1, claims=["1-7"]))
    assert reaped == Reaped(MANY - 1, "1-7")
    assert DeadLetters(redis).unanswered() == ["1-7"]


def test_a_reaper_that_dies_midway_leaves_a_fenced_worker_to_the_next_reaper(
    redis: Redis, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No claim may be left behind, and the worker that counts as dead can claim no more."""
    leases.register(WID)
    file_claims(redis, MANY)
    with monkeypatch.context() as dying:
        dying.setattr(held, "by_worker", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            leases.reap(WID, to="head")
    assert isinstance(Claims(redis, WID, ["q"], []).claim(ClaimLimit(rows=1)), LeaseLost)
    assert leases.renew([WID]) == {WID}
    assert leases.reap_expired(WID, leases.expired()[WID]) == Reaped(MANY, None)
    assert not redis.exists(keys.LEASES, keys.claims(WID))


def test_very_many_claims_and_letters_are_listed_completely(redis: Redis, leases: Leases) -> None:
    """They are listed in portions, by number or by one millisecond of letters."""
    leases.register(WID)
    leases.register(OTHER)
    file_claims(redis, MANY)
    file_claims(redis, 3, OTHER)
    assert depth._claimed(redis) == {"q": MANY + 3}
    letters = {f"1-{i}": 7 if i < 12_000 else i for i in range(13_000)}
    redis.zadd(keys.DEAD, letters)
    assert sorted(DeadLetters(redis).ids()) == sorted(letters)


def test_closing_the_connection_during_the_last_renewal_is_not_an_error(
    redis: Redis, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor that ends closes it while the thread may still read.

    That printed a traceback after a clean drain.
    """
    looking, closed = threading.Event(), threading.Event()

    def look(*_: Any) -> None:
        looking.set()
        closed.wait(60)
        raise ValueError("I/O operation on closed file")

    monkeypatch.setattr(Leases, "look", look)
    thread = LeaseThread(redis, leases, lambda: [WID], lost=lambda _: None)
    thread.start()
    assert looking.wait(60)
    ending = threading.Thread(target=thread.end)
    ending.start()
    until(thread._ended.is_set, "the end is asked for")
    closed.set()
    ending.join()
    assert not thread.is_alive()
