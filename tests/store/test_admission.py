"""One model per queue: a worker with another model than the queue's workers gets no lease, except during a rollout."""

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
    """Return leases that last one minute."""
    return Leases(redis, lease_ms=60_000)


def test_a_worker_with_another_model_gets_no_lease_and_learns_which_workers_serve_the_queue(
    leases: Leases, redis: Redis
) -> None:
    """This holds for every queue that both would serve.

    A worker with the same model is admitted, and so is another model on other queues.
    """
    assert leases.register("h:a:1", ["realtime", "batch"], "old") is None
    assert leases.register("h:b:1", ["batch"], "old") is None
    assert leases.register("h:c:1", ["default", "batch"], "new") in [
        Differing("batch", "h:a:1", "old"),
        Differing("batch", "h:b:1", "old"),
    ]
    assert redis.zscore(keys.LEASES, "h:c:1") is None
    assert not redis.hexists(keys.models("default"), "h:c:1"), "one that is refused leaves nothing behind"
    assert leases.register("h:d:1", ["default"], "new") is None


def test_of_two_models_that_start_at_the_same_moment_one_is_refused(redis: Redis) -> None:
    """If looking and entering were two steps, each would look before the other had entered."""
    for n in range(20):
        together = Barrier(2)

        def start(model: str, n: int = n, together: Barrier = together) -> Differing | None:
            together.wait(10)
            return Leases(redis).register(f"h:{model}:{n}", [f"queue{n}"], model)

        with ThreadPoolExecutor(2) as pool:
            refused = list(pool.map(start, ("one", "other")))
        assert sum(r is None for r in refused) == 1


def test_during_a_rollout_workers_of_both_models_may_start(leases: Leases) -> None:
    """A worker of either model is replaced if it dies; a third model is still refused."""
    assert leases.register("h:a:1", ["q"], "old") is None
    assert leases.register("h:b:1", ["q"], "new", rollout=True) is None
    assert leases.register("h:c:1", ["q"], "old") is None
    assert leases.register("h:d:1", ["q"], "new") is None
    assert leases.register("h:e:1", ["q"], "newer") is not None


@pytest.mark.parametrize("how", ["reaped", "run out"])
def test_dead_workers_do_not_keep_another_model_out(redis: Redis, how: str) -> None:
    """Dead means reaped by the process that saw the worker end, or silent for longer than a lease.

    Records of reaped workers are swept.
    """
    Leases(redis, lease_ms=60_000 if how == "reaped" else -1).register("h:a:1", ["q"], "old")
    if how == "reaped":
        Leases(redis).reap("h:a:1", to="head")
    assert Leases(redis).register("h:b:1", ["q"], "new") is None
    if how == "reaped":
        assert redis.hkeys(keys.models("q")) == [b"h:b:1"]


def test_a_repeated_registration_is_admitted_again(leases: Leases) -> None:
    """The reply to the first one may have been lost."""
    assert leases.register("h:a:1", ["q"], "old") is None
    assert leases.register("h:a:1", ["q"], "old") is None


def test_without_leases_heartbeats_decide_which_model_a_queue_has() -> None:
    """Only workers that serve count, not workers that are lost, failed or still loading."""
    other = heartbeat("gpu0", "node7", life="1f", state="busy", queues=("q",), model="m.pt2", fingerprint="old")
    with pytest.raises(
        ModelDiffers, match=r"worker gpu0@node7 serves queue q with model old, but this worker has model new"
    ):
        admission.check([other], "h:b:1", ["p", "q"], "new")
    new = replace(other, id="node7:gpu1:1f", fingerprint="new")
    for fine in ([], [other, new], [replace(other, state="lost")], [replace(other, queues=("p",))]):
        admission.check(fine, "h:b:1", ["q"], "new")
    admission.check([other], other.id, ["q"], "new")
