"""Autoscalers of several hosts never run more workers than the leader wants."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
from redis import Redis

from mlq.protocol import keys
from mlq.store.workers.booking import Booking


def test_one_autoscaler_leads_and_another_takes_over_when_it_falls_silent(redis: Redis) -> None:
    """A silent leader is replaced within the length of its lease, a leader that resigns at once."""
    one, other = (Booking(redis, "realtime", me, lead_ms=200) for me in ("one", "other"))
    assert one.seek([]).leads
    assert not other.seek([]).leads
    assert one.want(3)
    assert not other.want(9), "only the leader's word counts"
    assert other.seek([]).want == 3
    until(lambda: other.seek([]).leads)
    assert not one.want(9), "it was frozen, say, and does not know that it leads no more"
    assert not one.seek([]).leads
    other.resign()
    assert one.seek([]).leads


def test_no_more_places_are_booked_than_are_wanted(redis: Redis) -> None:
    """This holds for any number of hosts that see a free place at the same moment."""
    leader = Booking(redis, "realtime", "leader")
    leader.seek([])
    assert not leader.book("early"), "no worker is wanted yet"
    leader.want(5)
    hosts = [Booking(redis, "realtime", f"host{n}") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda n: hosts[n % 8].book(f"w{n}"), range(40)))
    assert sum(taken) == 5
    leader.leave([f"w{n}" for n in range(40) if taken[n]][:2])
    assert [leader.book("x"), leader.book("y"), leader.book("z")] == [True, True, False]


def test_workers_of_a_dead_host_stop_counting_and_those_of_a_living_host_count(redis: Redis) -> None:
    """Each host renews its own places with every look."""
    dead, alive = (Booking(redis, "realtime", me, member_ms=300) for me in ("dead", "alive"))
    alive.seek([])
    alive.want(2)
    assert dead.book("d")
    assert alive.book("a")
    until(lambda: alive.seek(["a"]).members == {"a"})
    assert alive.book("successor")
    assert not alive.book("too many")


@pytest.mark.parametrize(("turn_s", "lead_s", "member_s"), [(0.5, 6, 15), (2, 6, 15), (60, 180, 420)])
def test_leases_outlast_several_turns_for_any_interval(
    redis: Redis, turn_s: float, lead_s: float, member_s: float
) -> None:
    """With --interval 60 each turn had another leader, and the places of that host's own workers had expired."""
    booking = Booking(redis, "realtime", "me", turn_s=turn_s)
    booking.seek([])
    booking.want(1)
    assert booking.book("w")
    seconds, micros = redis.time()
    now = seconds + micros / 1e6
    until_ms, _ = cast("bytes", redis.get(keys.autoscale_leader("realtime"))).split(b" ", 1)
    booked_ms = cast("float", redis.zscore(keys.autoscale_members("realtime"), "w"))
    assert int(until_ms) / 1000 - now == pytest.approx(lead_s, abs=1)
    assert booked_ms / 1000 - now == pytest.approx(member_s, abs=1)


def test_queues_have_independent_leaders_and_numbers(redis: Redis) -> None:
    """Each queue has its own leader and its own number of workers."""
    one, other = Booking(redis, "realtime", "me"), Booking(redis, "batch", "you")
    assert one.seek([]).leads
    assert other.seek([]).leads
    one.want(1)
    assert not other.book("w")


def until(holds: Callable[[], bool]) -> None:
    """Wait for a change that only the server's clock brings about."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
