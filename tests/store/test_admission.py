"""One model a queue: a worker with another model than those that serve it gets no lease, unless it is rolled out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from redis import Redis

from mlq.engine.startup import admission
from mlq.errors import ModelDiffers
from mlq.protocol import keys
from mlq.store.claims.leases import Differing, Leases
from tests.heartbeats import heartbeat


@pytest.fixture
def leases(redis: Redis) -> Leases:
    """Give leases of a minute."""
    return Leases(redis, lease_ms=60_000)


def test_another_model_gets_no_lease_and_is_told_who_serves(leases: Leases, redis: Redis) -> None:
    """On any queue that both would serve; the same model is welcome, and so is another on other queues."""
    assert leases.register("h:a:1", ["realtime", "batch"], "old") is None
    assert leases.register("h:b:1", ["batch"], "old") is None
    assert leases.register("h:c:1", ["default", "batch"], "new") in [
        Differing("batch", "h:a:1", "old"),
        Differing("batch", "h:b:1", "old"),
    ]
    assert redis.zscore(keys.LEASES, "h:c:1") is None
    assert not redis.hexists(keys.models("default"), "h:c:1"), "one that is refused leaves nothing behind"
    assert leases.register("h:d:1", ["default"], "new") is None


def test_of_two_models_that_are_started_at_once_one_is_refused(redis: Redis) -> None:
    """Each looks before the other is there, if looking and entering are two steps."""
    for n in range(20):
        together = Barrier(2)

        def start(model: str, n: int = n, together: Barrier = together) -> Differing | None:
            together.wait(10)
            return Leases(redis).register(f"h:{model}:{n}", [f"queue{n}"], model)

        with ThreadPoolExecutor(2) as pool:
            refused = list(pool.map(start, ("one", "other")))
        assert sum(r is None for r in refused) == 1


def test_during_a_rollout_both_models_may_be_started(leases: Leases) -> None:
    """A worker of either that dies is replaced; a third model is nobody's wish."""
    assert leases.register("h:a:1", ["q"], "old") is None
    assert leases.register("h:b:1", ["q"], "new", rollout=True) is None
    assert leases.register("h:c:1", ["q"], "old") is None
    assert leases.register("h:d:1", ["q"], "new") is None
    assert leases.register("h:e:1", ["q"], "newer") is not None


@pytest.mark.parametrize("how", ["reaped", "run out"])
def test_the_dead_keep_no_model_out(redis: Redis, how: str) -> None:
    """Reaped by whoever saw them die, or silent for longer than a lease; the reaped are swept."""
    Leases(redis, lease_ms=60_000 if how == "reaped" else -1).register("h:a:1", ["q"], "old")
    if how == "reaped":
        Leases(redis).reap("h:a:1", to="head")
    assert Leases(redis).register("h:b:1", ["q"], "new") is None
    if how == "reaped":
        assert redis.hkeys(keys.models("q")) == [b"h:b:1"]


def test_a_registration_that_is_repeated_is_admitted_again(leases: Leases) -> None:
    """The first reply may have got lost."""
    assert leases.register("h:a:1", ["q"], "old") is None
    assert leases.register("h:a:1", ["q"], "old") is None


def test_without_leases_the_heartbeats_decide() -> None:
    """Of workers that serve: those that are lost, failed or still loading have no say."""
    other = heartbeat("gpu0", "node7", life="1f", state="busy", queues=("q",), model="m.pt2", fingerprint="old")
    with pytest.raises(
        ModelDiffers, match=r"worker gpu0@node7 serves queue q with model old, but this worker has model new"
    ):
        admission.check([other], "h:b:1", ["p", "q"], "new")
    new = replace(other, id="node7:gpu1:1f", fingerprint="new")
    for fine in ([], [other, new], [replace(other, state="lost")], [replace(other, queues=("p",))]):
        admission.check(fine, "h:b:1", ["q"], "new")
    admission.check([other], other.id, ["q"], "new")
