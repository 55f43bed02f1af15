"""The models that every contender serves: two MLPs, and one that only waits. One thread each, made from a seed.

python -m benchmarks.model small small.pt2        writes an MLP as `mlq worker start --model` takes it

`mlq worker start --model benchmarks/model.py:Slow` imports this file alone, so it imports no other module of its
package, and torch only for an MLP: the worker of `Slow` is a worker without torch.
"""

from __future__ import annotations

import os
import runpy
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import torch

SMALL: Final = "small"
LARGE: Final = "large"
SLOW: Final = "slow"

FEATURES: Final = 16
CLASSES: Final = 10
WIDTHS: Final = {SMALL: 256, LARGE: 4986}
"""The width of both hidden layers: 73 thousand parameters, and 25 million."""

ROWS_AT_ONCE: Final = {SMALL: 256, LARGE: 256, SLOW: 32}
"""Rows in one forward of a contender that batches."""

FORWARD_S: Final = 0.010
FORWARDS: Final = "BENCH_FORWARDS"
"""The environment variable with the file in which `Slow` records its forwards."""

_RECORD: Final = struct.Struct("ddq")


class Record(NamedTuple):
    """One forward: its beginning and end on the monotonic clock, which all processes share, and its rows."""

    began: float
    ended: float
    rows: int


class Slow:
    """A model whose forwards take 10 ms for any rows, and release the GIL like a kernel on a GPU."""

    max_batch_size = ROWS_AT_ONCE[SLOW]

    def setup(self, _device: str) -> None:
        """Open the record of forwards, with O_APPEND and unbuffered, so that each forward is one whole line."""
        self._file = Path(os.environ[FORWARDS]).open("ab", buffering=0)  # noqa: SIM115 (open as long as the worker serves)

    def predict(self, rows: list[Any]) -> list[list[float]]:
        """Wait, and return what an MLP would."""
        began = time.monotonic()
        time.sleep(FORWARD_S)
        self._file.write(_RECORD.pack(began, time.monotonic(), len(rows)))
        return [[0.0] * CLASSES for _ in rows]


def recorded(path: Path) -> list[Record]:
    """Return the forwards so far."""
    content = path.read_bytes() if path.exists() else b""
    whole = len(content) - len(content) % _RECORD.size
    return [Record(*fields) for fields in _RECORD.iter_unpack(content[:whole])]


def mlp(name: str) -> torch.nn.Module:
    """Return an MLP with the same weights in every process."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    width = WIDTHS[name]
    return torch.nn.Sequential(
        torch.nn.Linear(FEATURES, width),
        torch.nn.ReLU(),
        torch.nn.Linear(width, width),
        torch.nn.ReLU(),
        torch.nn.Linear(width, CLASSES),
    ).eval()


def answering(name: str) -> Callable[[list[Any]], list[Any]]:
    """Return the function from rows to answers that a hand-written worker has around its model."""
    if name == SLOW:
        slow = Slow()
        slow.setup("cpu")
        return lambda rows: [a for part in _parts(rows, slow.max_batch_size) for a in slow.predict(part)]
    if ":" in name:
        return _class(name)
    import torch

    module = mlp(name)

    def answer(rows: list[Any]) -> list[Any]:
        with torch.inference_mode():
            found: list[Any] = module(torch.tensor(rows, dtype=torch.float32)).tolist()
        return found

    return answer


def _class(name: str) -> Callable[[list[Any]], list[Any]]:
    """Load file.py:Class like mlq."""
    path, _, class_name = name.partition(":")
    model = runpy.run_path(path)[class_name]()
    model.setup("cpu")
    found: Callable[[list[Any]], list[Any]] = model.predict
    return found


def _parts(rows: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def export(name: str, path: str) -> None:
    """Write an MLP for any number of rows."""
    import torch

    example = torch.zeros(2, FEATURES)
    program = torch.export.export(mlp(name), (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, path)


if __name__ == "__main__":
    export(sys.argv[1], sys.argv[2])
