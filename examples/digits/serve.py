"""Model class for the digits: `mlq worker start --model examples/digits/serve.py:Model`.

The class does not import mlq. mlq calls the methods by name; only `predict` is required.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


class Model:
    """Classifier that takes rows of 64 pixels and returns {"digit", "sure"} for each row."""

    max_batch_size = 256

    def setup(self, device: str) -> None:
        """Load the model once, when the worker starts."""
        self.device = device
        self.network = torch.export.load(Path(__file__).with_name("model.pt2")).module().to(device)

    def example(self) -> list[int]:
        """Return a row that warms up the model before the worker reports that it is ready."""
        return [0] * 64

    def preprocess(self, row: list[int]) -> torch.Tensor:
        """Convert one row to a tensor of the batch; an exception here fails only this row."""
        return torch.tensor(row, dtype=torch.float32).reshape(64)

    def predict(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Run the model on a batch; mlq splits the returned tensor along its first dimension."""
        scores: torch.Tensor = self.network(torch.stack(batch).to(self.device))
        return scores.softmax(dim=1).cpu()

    def postprocess(self, output: torch.Tensor) -> dict[str, Any]:
        """Convert the output of one row to the result that the client receives."""
        return {"digit": int(output.argmax()), "sure": round(float(output.max()), 4)}
