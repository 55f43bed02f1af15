"""The same digits from a class: `mlq worker start --model examples/digits/serve.py:Model`.

No import of mlq: these names are all that it looks for, and only `predict` has to be there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


class Model:
    """Rows of 64 pixels in, {"digit", "sure"} out."""

    max_batch_size = 256

    def setup(self, device: str) -> None:
        """Load once, when the worker starts."""
        self.device = device
        self.network = torch.export.load(Path(__file__).with_name("model.pt2")).module().to(device)

    def example(self) -> list[int]:
        """Give a row to warm up with, before the worker says that it is ready."""
        return [0] * 64

    def preprocess(self, row: list[int]) -> torch.Tensor:
        """Turn one row into what goes into a batch; what it raises fails this row alone."""
        return torch.tensor(row, dtype=torch.float32).reshape(64)

    def predict(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Compute a whole batch; a tensor is split on its first dimension."""
        scores: torch.Tensor = self.network(torch.stack(batch).to(self.device))
        return scores.softmax(dim=1).cpu()

    def postprocess(self, output: torch.Tensor) -> dict[str, Any]:
        """Turn one row's output into what its caller receives."""
        return {"digit": int(output.argmax()), "sure": round(float(output.max()), 4)}
