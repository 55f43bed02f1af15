"""The GPUs that an operator names, and the device mask of a worker's process."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlq.settings import config
from mlq.supervisor.devices import cpus
from mlq.supervisor.devices.gpus import Gpu, choose, visible
from mlq.supervisor.errors import NoSuchGpu
from mlq.supervisor.spec import WorkerSpec

GPUS = [Gpu(i, f"GPU-{c * 8}", "Some GPU", 2**33) for i, c in enumerate("abc")]


def test_indices_are_relative_to_an_inherited_mask() -> None:
    """As in any CUDA program: with CUDA_VISIBLE_DEVICES=2,0 the first GPU is number 2."""
    left = visible(GPUS, {"CUDA_VISIBLE_DEVICES": "2,0"})
    assert [g.index for g in choose("0", left)] == [2]
    assert [g.index for g in choose("all", left)] == [2, 0]


@pytest.mark.parametrize(("mask", "left"), [("", []), ("0,9,1", [0]), ("-1,0", []), ("GPU-bbb", [1])])
def test_a_mask_is_read_as_cuda_reads_it(mask: str, left: list[int]) -> None:
    """An empty mask allows no GPU, and a mask ends at the first entry that names no device."""
    assert [g.index for g in visible(GPUS, {"CUDA_VISIBLE_DEVICES": mask})] == left


def test_the_beginning_of_a_uuid_names_a_gpu() -> None:
    """As in CUDA, in the order in which they are named."""
    assert [g.index for g in choose("GPU-cc,0", GPUS)] == [2, 0]


@pytest.mark.parametrize("wanted", ["3", "GPU-x", "one", "", "0,,1"])
def test_a_missing_gpu_is_an_error_that_lists_the_present_ones(wanted: str) -> None:
    """The worker must not silently use the CPU."""
    with pytest.raises(NoSuchGpu, match="GPU-aaaaaaaa") as raised:
        choose(wanted, GPUS)
    assert raised.value.exit_code == 5


def test_all_without_a_gpu_is_an_error() -> None:
    """`--gpus all` on a host without GPUs must not start zero workers."""
    with pytest.raises(NoSuchGpu, match="hides all"):
        choose("all", [])


def test_a_gpu_worker_is_masked_by_uuid_before_its_process_starts() -> None:
    """nvidia-smi and CUDA number devices differently, so a worker gets no number."""
    spec = WorkerSpec("gpu1", config.load({}), gpu=GPUS[1])
    environment = spec.environment({"CUDA_VISIBLE_DEVICES": "0,1,2"})
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-bbbbbbbb"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "GPU-bbbbbbbb" in spec.argv()


def test_a_cpu_worker_sees_no_gpu_and_uses_its_share_of_the_cores() -> None:
    """Four processes on default threads ran five times slower than with one thread each."""
    environment = WorkerSpec("cpu0", config.load({}), threads=3).environment({})
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["OMP_NUM_THREADS"] == "3"


def test_no_password_is_in_a_workers_argv() -> None:
    """`ps` shows argv to every user of the host, and the environment only to its owner."""
    spec = WorkerSpec("cpu0", config.load({"MLQ_BROKER_URL": "redis://:canary@db/0"}), threads=1)
    assert "canary" not in " ".join(spec.argv())
    assert spec.environment({})["MLQ_BROKER_URL"] == "redis://:canary@db/0"


@pytest.mark.parametrize(("quota", "expected"), [("150000 100000", 1), ("max 100000", None), ("50000 100000", 1)])
def test_a_containers_quota_bounds_the_cores(tmp_path: Path, quota: str, expected: int | None) -> None:
    """Threads beyond the quota only wait for each other."""
    (tmp_path / "cpu.max").write_text(quota)
    unlimited = cpus.cores(tmp_path / "nothing-here")
    assert cpus.cores(tmp_path) == (expected or unlimited)
    assert cpus.threads_each(workers=2, available=5) == 2
    assert cpus.threads_each(workers=8, available=2) == 1
