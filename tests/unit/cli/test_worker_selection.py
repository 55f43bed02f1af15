"""Whom an order means, and what is taken for its being done."""

from __future__ import annotations

import pytest

from mlq.cli.worker_selection import OrderOutcome, outcome_of, pick
from mlq.errors import NoSuchWorker, UsageError
from mlq.store.workers.heartbeats import Heartbeat
from mlq.store.workers.orders import Order, Word


def worker(name: str, host: str = "a", life: str = "1", state: str = "idle") -> Heartbeat:
    """A worker's word."""
    return Heartbeat(
        id=f"{host}:{name}:{life}",
        name=name,
        host=host,
        pid=1,
        gpu=None,
        device="cpu",
        state=state,
        queues=("default",),
        model="m",
        fingerprint=None,
        task=None,
        tasks_done=0,
        rows_done=0,
        started_at=0.0,
        rss_bytes=1,
        supervisor=7,
    )


FOUND = [worker("cpu0"), worker("cpu1"), worker("cpu1", host="b")]


def test_workers_are_picked_by_name_by_host_or_all() -> None:
    """The same words as in `mlq worker`."""
    assert pick(FOUND, ["cpu0"], None) == [FOUND[0]]
    assert pick(FOUND, ["cpu1@b", "cpu1@b"], None) == [FOUND[2]]
    assert pick(FOUND, ["cpu1"], "b") == [FOUND[2]]
    assert pick(FOUND, [], "a") == FOUND[:2]
    assert pick(FOUND, [], None) == FOUND


def test_a_name_that_two_hosts_have_is_not_guessed() -> None:
    """To stop the wrong host's worker is worse than to ask."""
    with pytest.raises(UsageError, match="several hosts"):
        pick(FOUND, ["cpu1"], None)


@pytest.mark.parametrize(("names", "host"), [(["gpu0"], None), (["cpu0"], "b"), ([], "c")])
def test_a_worker_that_is_not_there_is_named(names: list[str], host: str | None) -> None:
    """With those that are."""
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
def test_an_order_is_done_when_the_incarnation_it_was_given_to_has_ended(
    word: Word, found: list[Heartbeat], outcome: OrderOutcome | None
) -> None:
    """And a restart only when the next one serves."""
    assert outcome_of(FOUND[0], Order(word), found) == outcome
