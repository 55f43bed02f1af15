"""The meaning of --pool and --concurrency, and the options that a prefork pool refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlq.errors import UsageError
from mlq.settings import config
from mlq.supervisor.devices import pools
from mlq.supervisor.devices.plan import DeviceRequest, plan
from mlq.supervisor.devices.pools import Pool
from mlq.supervisor.devices.slots import Slots
from mlq.supervisor.errors import NoWorkForPool


@pytest.fixture
def slots(tmp_path: Path) -> Iterator[Slots]:
    """Take slots in a state directory of the test."""
    with closing(Slots(tmp_path)) as slots:
        yield slots


@pytest.mark.parametrize(
    ("concurrency", "expected"), [("2-8", Pool(2, 8)), ("4", Pool(4, 4)), (None, Pool(6, 6)), ("3-3", Pool(3, 3))]
)
def test_concurrency_is_a_number_or_a_range(concurrency: str | None, expected: Pool) -> None:
    """Without --concurrency there is one process per core."""
    assert pools.read("prefork", concurrency, cores=6) == expected


@pytest.mark.parametrize(
    ("kind", "concurrency"),
    [("prefork", "8-2"), ("prefork", "0"), ("prefork", "many"), ("prefork", "-2"), ("gevent", None), (None, "4")],
)
def test_invalid_options_are_refused(kind: str | None, concurrency: str | None) -> None:
    """A solo worker runs one task: --concurrency without a pool would be ignored."""
    with pytest.raises(UsageError):
        pools.read(kind, concurrency, cores=6)


@pytest.mark.parametrize("devices", [{"gpus": "0"}, {"gpus": "auto", "per_gpu": 2}, {"cpus": 2}])
def test_a_pool_takes_no_devices(slots: Slots, devices: dict[str, object]) -> None:
    """CUDA does not survive a fork, and the number of processes is --concurrency."""
    with pytest.raises(UsageError, match="takes no --gpus"):
        plan(config.load({"MLQ_WORKER_MODEL": "m.pt2"}), DeviceRequest(pool="prefork", **devices), slots, {})  # type: ignore[arg-type]


def test_a_pool_keeps_no_shares(slots: Slots) -> None:
    """Shares are a feature of mlq's engine, and Celery claims the messages of a pool."""
    settings = config.load({"MLQ_WORKER_MODEL": "m.pt2", "MLQ_WORKER_SHARES": '{"batch": 0.1}'})
    with pytest.raises(UsageError, match="shares"):
        plan(settings, DeviceRequest(pool="prefork"), slots, {})


def test_a_pool_needs_a_model_or_tasks_and_their_queues(slots: Slots) -> None:
    """With neither it would claim other applications' messages and fail them."""
    for lacking in ({}, {"MLQ_WORKER_IMPORTS": "own"}, {"MLQ_WORKER_QUEUES": "own"}):
        with pytest.raises(NoWorkForPool):
            plan(config.load(lacking), DeviceRequest(pool="prefork"), slots, {})


def test_cores_are_shared_among_the_processes(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight processes with eight threads each would compete for eight cores."""
    monkeypatch.setattr("mlq.supervisor.devices.cpus.cores", lambda: 8)
    settings = config.load({"MLQ_WORKER_MODEL": "m.pt2"})
    (spec,) = plan(settings, DeviceRequest(pool="prefork", concurrency="1-4"), slots, {}, prefix="a")
    assert (spec.name, spec.environment({})["OMP_NUM_THREADS"]) == ("a-pool0", "2")
    assert spec.environment({})["CUDA_VISIBLE_DEVICES"] == ""
    assert spec.device == "CPU, 1 to 4 processes of 2 threads"
    assert spec.argv()[-7:] == ["mlq.prefork", "--name", "a-pool0", "--least", "1", "--most", "4"]
