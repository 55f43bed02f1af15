"""Shares of device time, with a fake clock."""

from __future__ import annotations

import pytest

from mlq.engine.shares import Shares
from mlq.settings.parsers import shares as parse

QUEUES = ("realtime", "default", "batch")


def test_without_shares_the_order_never_changes() -> None:
    """Strict order is the default."""
    shares = Shares(QUEUES, {})
    shares.used("realtime", 100.0)
    assert shares.order() == QUEUES


def test_a_queue_goes_first_while_it_had_less_than_its_share() -> None:
    """It yields as soon as it had its share, so over time it gets exactly that."""
    shares = Shares(QUEUES, {"batch": 0.25})
    got = dict.fromkeys(QUEUES, 0)
    for _ in range(10_000):
        first = shares.order()[0]
        got[first] += 1
        shares.used(first, 0.01)
    assert got["batch"] / 10_000 == pytest.approx(0.25, abs=0.01)
    assert got["default"] == 0


def test_old_device_time_is_forgotten() -> None:
    """A queue that was idle for an hour is not owed six minutes, only its share of recent time."""
    shares = Shares(QUEUES, {"batch": 0.1})
    for _ in range(1000):
        shares.used("realtime", 1.0)
    took = 0
    while shares.is_owed("batch"):
        shares.used("batch", 0.1)
        took += 1
    assert took * 0.1 < 2.0


@pytest.mark.parametrize("value", ["batch=0.1", '{"batch": 0.1}', {"batch": 0.1}])
def test_shares_are_written_as_a_flag_or_a_table(value: object) -> None:
    """The command line takes a flag, the configuration file a table."""
    assert parse(value) == {"batch": 0.1}


@pytest.mark.parametrize("value", ["batch=1", "batch=0", "batch", "a=0.6,b=0.5", {"batch": "much"}])
def test_impossible_shares_are_refused(value: object) -> None:
    """Shares cannot add up to the whole device or more."""
    with pytest.raises((TypeError, ValueError)):
        parse(value)
