"""Models that need a GPU, and cause errors on it on purpose. Each writes its actions to a file named by MODEL_LOG."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

HOLD = """
import sys, time, torch
held = torch.ones(int(sys.argv[1]), dtype=torch.uint8, device="cuda")
print("up", flush=True)
time.sleep(120)
"""


def record(*words: object) -> None:
    """Append one line of the process id and these words, which survives any end of the process."""
    with Path(os.environ["MODEL_LOG"]).open("a") as file:
        file.write(f"{os.getpid()} {' '.join(map(str, words))}\n")


class Sum:
    """A model that adds up the numbers of each row on the GPU."""

    max_batch_size = 4

    def setup(self, device: str) -> None:
        """Record the GPUs that this process can see."""
        self.device = device
        record("setup", device, torch.cuda.device_count(), os.environ["CUDA_VISIBLE_DEVICES"])

    def predict(self, rows: Sequence[Any]) -> list[float]:
        """Return one sum for each row."""
        return [float(torch.tensor(row, dtype=torch.float32, device=self.device).sum()) for row in rows]


class TooLarge(Sum):
    """A model that needs more memory in setup than the GPU has."""

    def setup(self, device: str) -> None:
        """Allocate twice the memory of the GPU."""
        super().setup(device)
        self.weights = torch.empty(
            2 * torch.cuda.get_device_properties(0).total_memory, dtype=torch.uint8, device=device
        )


class Hungry:
    """A model of which four rows fit into the free memory at once, and five do not."""

    max_batch_size = 8

    def setup(self, device: str) -> None:
        """Take a fifth of the free memory, and a little more, as the memory of one row."""
        self.device = device
        free, _ = torch.cuda.mem_get_info()
        self.row_bytes = int(free * 0.21)

    def predict(self, rows: Sequence[Any]) -> list[int]:
        """Allocate the memory that these rows need."""
        record("forward", len(rows))
        needed = torch.empty(len(rows) * self.row_bytes, dtype=torch.uint8, device=self.device)
        needed[::4096] = 1  # this writes to every page
        return [int(needed[0])] * len(rows)


class OutOfRange(Sum):
    """A model that breaks the CUDA context: "always" indexes out of range in each process, "once" only in the first."""

    def predict(self, rows: Sequence[Any]) -> list[float]:
        """Look each row up in a table of four values."""
        mark = Path("broken-once")
        record("forward", *rows)
        for row in rows:
            if row == "always" or (row == "once" and not mark.exists()):
                mark.touch()
                table = torch.zeros(4, device=self.device)
                table[torch.tensor([10**6], device=self.device)].cpu()
        return super().predict([[len(row)] for row in rows])


class WithServer(Sum):
    """A model that starts a process in its own session with 60% of the GPU's memory, like an inference server."""

    def setup(self, device: str) -> None:
        """Return when the process has its memory."""
        super().setup(device)
        total = torch.cuda.get_device_properties(0).total_memory
        self.server = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(int(total * 0.6))],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.server.stdout is not None
        if self.server.stdout.readline() != b"up\n":
            message = "the server found too little memory on the GPU"
            raise RuntimeError(message)
        record("server", self.server.pid)


class Large(Sum):
    """A model with most of the GPU's memory: two of it do not fit."""

    def setup(self, device: str) -> None:
        """Allocate 60% of the memory, and record how much was free before."""
        super().setup(device)
        free, total = torch.cuda.mem_get_info()
        record("free", f"{free / total:.3f}")
        self.weights = torch.ones(int(total * 0.6), dtype=torch.uint8, device=device)
