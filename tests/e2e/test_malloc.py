"""What glibc reads of the environment before a worker's first instruction."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlq.settings import config
from mlq.supervisor.devices.gpus import Gpu
from mlq.supervisor.spec import WorkerSpec
from tests.conftest import Start

TUNED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


def test_a_cpu_worker_is_born_with_an_allocator_that_keeps_its_memory(broker: str, start: Start) -> None:
    """Set later it would not count: glibc reads these once, at exec. What a user has set is left alone."""
    assert broker
    workers = start("--cpus", "1", MALLOC_TOP_PAD_="4096")
    born_with = Path(f"/proc/{workers.pids()['cpu0']}/environ").read_bytes().decode().split("\0")
    found = dict(line.split("=", 1) for line in born_with if line.startswith("MALLOC_"))
    assert set(found) == set(TUNED)
    assert found["MALLOC_TOP_PAD_"] == "4096"
    assert int(found["MALLOC_MMAP_THRESHOLD_"]) == 32 * 2**20, "glibc takes no larger one"
    assert int(found["MALLOC_TRIM_THRESHOLD_"]) > int(found["MALLOC_MMAP_THRESHOLD_"])


@pytest.mark.parametrize("variable", TUNED)
def test_a_gpu_worker_keeps_the_allocator_as_it_is(variable: str) -> None:
    """Its buffers are elsewhere, and its host memory is others' too."""
    gpu = Gpu(index=0, uuid="GPU-1", name="any", memory_bytes=1)
    assert variable not in WorkerSpec("gpu0", config.load({}), gpu=gpu).environment({})
