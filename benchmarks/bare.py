"""The bare loop: one process reads a file, computes in batches and writes JSON. Nothing can be much faster.

python -m benchmarks.bare small rows.jsonl answers.jsonl     prints its seconds without the load of the model
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from benchmarks import model


def run(name: str, source: Path, target: Path) -> float:
    """Answer every row of a file of JSON Lines; return the seconds from its opening to the last written line."""
    compute = _computing(name)
    at_once = model.ROWS_AT_ONCE[name]
    began = time.perf_counter()
    lines = source.read_bytes().splitlines()
    with target.open("wb") as out:
        for start in range(0, len(lines), at_once):
            rows = [orjson.loads(line) for line in lines[start : start + at_once]]
            for index, answer in enumerate(compute(rows), start):
                line = {"id": index, "index": index, "status": "ok", "result": answer}
                out.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    return time.perf_counter() - began


def _computing(name: str) -> Callable[[list[Any]], list[Any]]:
    """Return the fastest function from rows to answers, not the usual one, and warm it up."""
    if name == model.SLOW:
        return model.answering(name)
    import numpy as np
    import torch

    module = model.mlp(name)

    def compute(rows: list[Any]) -> list[Any]:
        with torch.inference_mode():
            found: list[Any] = module(torch.from_numpy(np.asarray(rows, np.float32))).tolist()
        return found

    compute([[0.0] * model.FEATURES] * 2)
    return compute


if __name__ == "__main__":
    sys.stdout.write(f"{run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))}\n")
