"""The settings of glibc in the environment of a worker, which are read before its first instruction."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlq.settings import config
from mlq.supervisor.devices.gpus import Gpu
from mlq.supervisor.spec import WorkerSpec
from tests.conftest import Start

TUNED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


def test_a_cpu_worker_starts_with_an_allocator_that_keeps_its_memory(broker: str, start: Start) -> None:
    """The variables are read once, at exec, so a later change has no effect. Variables that a user has set are kept."""
    assert broker
    workers = start("--cpus", "1", MALLOC_TOP_PAD_="4096")
    born_with = Path(f"/proc/{workers.pids()['cpu0']}/environ").read_bytes().decode().split("\0")
    found = dict(line.split("=", 1) for line in born_with if line.startswith("MALLOC_"))
    assert set(found) == set(TUNED)
    assert found["MALLOC_TOP_PAD_"] == "4096"
    assert int(found["MALLOC_MMAP_THRESHOLD_"]) == 32 * 2**20, "glibc takes no larger one"
    assert int(found["MALLOC_TRIM_THRESHOLD_"]) > int(found["MALLOC_MMAP_THRESHOLD_"])


@pytest.mark.parametrize("variable", TUNED)
def test_a_gpu_worker_keeps_the_default_allocator(variable: str) -> None:
    """Its buffers are on the device, and it shares the host's memory with other processes."""
    gpu = Gpu(index=0, uuid="GPU-1", name="any", memory_bytes=1)
    assert variable not in WorkerSpec("gpu0", config.load({}), gpu=gpu).environment({})
