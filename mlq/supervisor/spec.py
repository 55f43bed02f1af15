"""WorkerSpec: what one worker is, and the command line and environment of its process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mlq.ipc import python_command
from mlq.settings.config import Settings, to_environment
from mlq.supervisor.devices.gpus import Gpu
from mlq.supervisor.devices.pools import Pool

_MALLOC: Final = {
    # With large batches glibc maps and unmaps the buffers at every forward, which makes convolutions three times
    # slower. These variables make it keep the memory. They have to be set before exec, because glibc reads them once.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}


@dataclass(frozen=True)
class WorkerSpec:
    """One worker: its slot, its device and its settings."""

    #: The name of its slot.
    name: str
    settings: Settings
    #: None: it computes on the CPU.
    gpu: Gpu | None = None
    #: CPU threads; with `pool`, of each of its processes.
    threads: int | None = None
    verbose: bool = False
    #: Its model may differ from the model of the other workers of its queues.
    rollout: bool = False
    #: It refuses to start if it does not know the tasks of most waiting messages.
    checks_tasks: bool = False
    #: It is Celery's prefork worker, with this pool; None: a solo worker.
    pool: Pool | None = None

    @property
    def device(self) -> str:
        """The device, as text for people."""
        if self.gpu is not None:
            return self.gpu.words
        if self.pool is not None:
            return f"CPU, {self.pool.words} of {self.threads} thread{'s' if self.threads != 1 else ''}"
        return f"CPU, {self.threads} thread{'s' if self.threads != 1 else ''}"

    def argv(self) -> list[str]:
        """Return the command line. It holds no URL and no password, since every user of the host can read it."""
        gpu = ["--gpu", self.gpu.uuid] if self.gpu else []
        verbose = ["--verbose"] if self.verbose else []
        rollout = ["--rollout"] if self.rollout else []
        checks = ["--check-tasks"] if self.checks_tasks else []
        module = "mlq.worker" if self.pool is None else "mlq.prefork"
        pool = [] if self.pool is None else ["--least", str(self.pool.least), "--most", str(self.pool.most)]
        return [*python_command.python(module), "--name", self.name, *gpu, *pool, *verbose, *rollout, *checks]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the environment. The device mask is set here, because torch reads it when it is imported."""
        device = self._gpu_mask() if self.gpu else self._cpu_share(inherited)
        return {**inherited, **device, **to_environment(self.settings), "PYTHONUNBUFFERED": "1"}

    def _gpu_mask(self) -> dict[str, str]:
        assert self.gpu is not None  # noqa: S101 (asked above)
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": self.gpu.uuid}

    def _cpu_share(self, inherited: Mapping[str, str]) -> dict[str, str]:
        tuned = {k: v for k, v in _MALLOC.items() if k not in inherited}
        return {**tuned, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(self.threads or 1)}
