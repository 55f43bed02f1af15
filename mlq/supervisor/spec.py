"""WorkerSpec: what one worker is, and how its process is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mlq.ipc import python_command
from mlq.settings.config import Settings, to_environment
from mlq.supervisor.devices.gpus import Gpu
from mlq.supervisor.devices.pools import Pool

_MALLOC: Final = {
    # Large batches make glibc map and unmap their buffers on every forward, a threefold loss on convolutions.
    # These keep the memory; they count only in the environment of exec. Values are glibc's largest or generous.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}


@dataclass(frozen=True)
class WorkerSpec:
    """One worker: its slot's name, its device (no GPU: the CPU, with so many threads) and what it serves.

    With `rollout` its model may be another than that of those who serve its queues. With `checks_tasks` it does not
    start where most waiting messages are of tasks that it does not know. With `pool` it is Celery's prefork worker, and
    `threads` are those of each of its processes.
    """

    name: str
    settings: Settings
    gpu: Gpu | None = None
    threads: int | None = None
    verbose: bool = False
    rollout: bool = False
    checks_tasks: bool = False
    pool: Pool | None = None

    @property
    def device(self) -> str:
        """The device in words, for people."""
        if self.gpu is not None:
            return self.gpu.words
        if self.pool is not None:
            return f"CPU, {self.pool.words} of {self.threads} thread{'s' if self.threads != 1 else ''}"
        return f"CPU, {self.threads} thread{'s' if self.threads != 1 else ''}"

    def argv(self) -> list[str]:
        """Write the command line, which every user of the host can read: no URL, no password."""
        gpu = ["--gpu", self.gpu.uuid] if self.gpu else []
        verbose = ["--verbose"] if self.verbose else []
        rollout = ["--rollout"] if self.rollout else []
        checks = ["--check-tasks"] if self.checks_tasks else []
        module = "mlq.worker" if self.pool is None else "mlq.prefork"
        pool = [] if self.pool is None else ["--least", str(self.pool.least), "--most", str(self.pool.most)]
        return [*python_command.python(module), "--name", self.name, *gpu, *pool, *verbose, *rollout, *checks]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Write the environment: the device mask is there before Python starts, so before torch can look."""
        device = self._gpu_mask() if self.gpu else self._cpu_share(inherited)
        return {**inherited, **device, **to_environment(self.settings), "PYTHONUNBUFFERED": "1"}

    def _gpu_mask(self) -> dict[str, str]:
        assert self.gpu is not None  # noqa: S101 (asked above)
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": self.gpu.uuid}

    def _cpu_share(self, inherited: Mapping[str, str]) -> dict[str, str]:
        tuned = {k: v for k, v in _MALLOC.items() if k not in inherited}
        return {**tuned, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(self.threads or 1)}
