"""The selection of the workers of an order, and the outcome of an order."""

from __future__ import annotations

import pytest

from mlq.cli.worker_selection import OrderOutcome, outcome_of, pick
from mlq.errors import NoSuchWorker, UsageError
from mlq.store.workers.heartbeats import Heartbeat
from mlq.store.workers.orders import Order, OrderWord
from tests.heartbeats import heartbeat


def worker(name: str, host: str = "a", life: str = "1", state: str = "idle") -> Heartbeat:
    """Make the heartbeat of a worker."""
    return heartbeat(name, host, life, state=state, queues=("default",), supervisor=7)


FOUND = [worker("cpu0"), worker("cpu1"), worker("cpu1", host="b")]


def test_workers_are_picked_by_name_by_host_or_all() -> None:
    """Names are those that `mlq worker` shows, with or without the host; a worker named twice is picked once."""
    assert pick(FOUND, ["cpu0"], None) == [FOUND[0]]
    assert pick(FOUND, ["cpu1@b", "cpu1@b"], None) == [FOUND[2]]
    assert pick(FOUND, ["cpu1"], "b") == [FOUND[2]]
    assert pick(FOUND, [], "a") == FOUND[:2]
    assert pick(FOUND, [], None) == FOUND


def test_a_name_that_two_hosts_have_is_refused() -> None:
    """The command must not stop the worker of the wrong host."""
    with pytest.raises(UsageError, match="several hosts"):
        pick(FOUND, ["cpu1"], None)


@pytest.mark.parametrize(("names", "host"), [(["gpu0"], None), (["cpu0"], "b"), ([], "c")])
def test_an_unknown_worker_is_an_error_that_lists_the_known_ones(names: list[str], host: str | None) -> None:
    """The operator sees which names and hosts there are."""
    with pytest.raises(NoSuchWorker, match="cpu0@a, cpu1@a, cpu1@b"):
        pick(FOUND, names, host)


@pytest.mark.parametrize(
    ("word", "found", "outcome"),
    [
        ("drain", [worker("cpu0", state="draining")], None),
        ("drain", [], "stopped"),
        ("stop", [worker("cpu0", life="2")], "stopped"),
        ("stop", [worker("cpu0", state="lost")], "lost"),
        ("restart", [worker("cpu0")], None),
        ("restart", [], "stopped"),
        ("restart", [worker("cpu0", life="2", state="starting")], None),
        ("restart", [worker("cpu0", life="2")], "ready"),
        ("restart", [worker("cpu0", life="2", state="failed")], "failed"),
    ],
)
def test_an_order_is_done_when_the_process_that_got_it_has_ended(
    word: OrderWord, found: list[Heartbeat], outcome: OrderOutcome | None
) -> None:
    """A restart is done only when the successor serves; a successor that fails, and a lost host, are outcomes too."""
    assert outcome_of(FOUND[0], Order(word), found) == outcome
