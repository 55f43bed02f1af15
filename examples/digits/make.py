"""Train a small network on scanned digits; write model.pt2, input.json and labels.json. Needs no network access."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).parent
EPOCHS = 120
BATCH = 64
NOISE = 3.0
WORTH_SERVING = 0.97


class Digits(nn.Module):
    """Network that maps 8x8 pixels, 0 (white) to 16 (black), to one score for each of ten digits.

    The network scales its input, so clients send the scanned values unchanged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(pixels / 16)
        return scores


def train(pixels: torch.Tensor, labels: torch.Tensor) -> Digits:
    """Train the network from a fixed seed.

    The noise augments the small data set: without it, the accuracy is close to 97% and may fall below.
    """
    torch.manual_seed(0)
    model = Digits()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=EPOCHS)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(pixels)).chunk(len(pixels) // BATCH):
            seen = pixels[batch] + NOISE * torch.randn(len(batch), 64)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(seen), labels[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        slower.step()
    return model.eval()


def accuracy(model: Digits, pixels: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of digits that the model classifies as their label."""
    with torch.inference_mode():
        return float((model(pixels).argmax(dim=1) == labels).float().mean())


def export(model: Digits, path: Path) -> None:
    """Export the model for any number of rows; without Dim.DYNAMIC it would only accept the two rows of the example."""
    rows = torch.zeros(2, 64)
    program = torch.export.export(model, (rows,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, path)


def write_rows(pixels: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
    """Write every digit to input.json and its label to labels.json."""
    ids = [f"digit-{n:04}" for n in range(1, len(pixels) + 1)]
    whole = pixels.astype(int).tolist()
    lines = [json.dumps({"id": i, "input": row}) for i, row in zip(ids, whole, strict=True)]
    (HERE / "input.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
    (HERE / "labels.json").write_text(json.dumps(dict(zip(ids, labels.tolist(), strict=True))) + "\n")


def main() -> None:
    """Train on four fifths of the digits, test on the rest, and write the files."""
    torch.set_num_threads(1)
    pixels, labels = load_digits(return_X_y=True)
    split = train_test_split(pixels.astype(np.float32), labels, test_size=0.2, random_state=0, stratify=labels)
    train_pixels, held_pixels, train_labels, held_labels = (torch.from_numpy(part) for part in split)
    model = train(train_pixels, train_labels)
    reached = accuracy(model, held_pixels, held_labels)
    print(f"{reached:.1%} of {len(held_labels)} held-out digits read correctly")
    if reached < WORTH_SERVING:
        sys.exit(f"below {WORTH_SERVING:.0%}: nothing written")
    export(model, HERE / "model.pt2")
    write_rows(pixels, labels)
    print(f"wrote model.pt2, input.json and labels.json to {HERE}")


if __name__ == "__main__":
    main()
