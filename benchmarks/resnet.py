"""ResNet-50 with random weights in fp16 for the benchmark on a GPU, and a bare loop around it.

A row is the number of an image that is on the device already (`Numbered`: this measures only mlq and the GPU), or the
image itself, 224 x 224 x 3 bytes in base64 (`Sent`: this includes reading, moving and decoding it).

python -m benchmarks.resnet Numbered rows.jsonl answers.jsonl     the bare loop; prints seconds without model loading
"""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson

SIDE: Final = 224
BATCH: Final = 64
_IMAGES: Final = 256


class Numbered:
    """A model that takes images by number."""

    max_batch_size = BATCH

    def setup(self, device: str) -> None:
        """Build the network and the images; run one batch, so that cuDNN chooses its kernels."""
        import torch
        from torchvision.models import resnet50

        torch.manual_seed(0)
        self.device = device
        network = resnet50(weights=None).half().eval().to(device)
        self.network = network.to(memory_format=torch.channels_last)
        self.pool = torch.randint(0, 256, (_IMAGES, SIDE, SIDE, 3), dtype=torch.uint8, device=device)
        self.classify(self.pool[:BATCH])

    def predict(self, rows: Sequence[Any]) -> list[int]:
        """Return the most probable class of each image."""
        import torch

        return self.classify(self.pool[torch.tensor(rows, device=self.device) % _IMAGES])

    def classify(self, pixels: Any) -> list[int]:
        """Return the classes of images: a uint8 tensor (rows, 224, 224, 3) on the device."""
        import torch

        with torch.inference_mode():  # the memory layout of (rows, 3, 224, 224) does not change: that is channels_last
            scores = self.network(pixels.permute(0, 3, 1, 2).half() / 255)
            found: list[int] = scores.argmax(dim=1).tolist()
        return found


class Sent(Numbered):
    """A model that takes images in base64."""

    def predict(self, rows: Sequence[Any]) -> list[int]:
        """Return the most probable class of each image."""
        import numpy as np
        import torch

        whole = b"".join(map(base64.b64decode, rows))
        pixels = np.frombuffer(bytearray(whole), np.uint8).reshape(len(rows), SIDE, SIDE, 3)
        return self.classify(torch.from_numpy(pixels).to(self.device))


MODELS: Final = {"Numbered": Numbered, "Sent": Sent}


def run(name: str, source: Path, target: Path) -> float:
    """Answer a file of JSON Lines, batch after batch; return the seconds from its opening to the last written line."""
    model = MODELS[name]()
    model.setup("cuda:0")
    began = time.perf_counter()
    lines = source.read_bytes().splitlines()
    with target.open("wb") as out:
        for start in range(0, len(lines), BATCH):
            rows = [orjson.loads(line) for line in lines[start : start + BATCH]]
            for index, answer in enumerate(model.predict(rows), start):
                line = {"id": index, "index": index, "status": "ok", "result": answer}
                out.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.stdout.write(f"{run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))}\n")
