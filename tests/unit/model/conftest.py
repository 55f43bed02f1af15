"""Real model files, written once by the installed torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim

from mlq.model import Model, load
from mlq.model.model import Output


class Sums(nn.Module):
    """A model of four numbers that returns their sum and its negative."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, -1.0]] * 4))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows @ self.weight


class Several(nn.Module):
    """A model of integers that returns a dict of a tensor and a list of tensors."""

    def forward(self, rows: torch.Tensor) -> dict[str, torch.Tensor | list[torch.Tensor]]:
        return {"sum": rows.sum(dim=1), "ends": [rows[:, 0], rows[:, -1]]}


class Two(nn.Module):
    """A model of two tensors, which a row of a file model cannot be."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left + right


def _export(path: Path, module: nn.Module, *inputs: torch.Tensor, batch: object = None) -> None:
    shapes = None if batch is None else tuple({0: batch} for _ in inputs)
    torch.export.save(torch.export.export(module, inputs, dynamic_shapes=shapes), path)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of models, all with wrong suffixes, because the suffix must not matter."""
    here = tmp_path_factory.mktemp("models")
    _export(here / "dynamic.pt", Sums(), torch.zeros(2, 4), batch=Dim.DYNAMIC)
    _export(here / "at_most_8.pt", Sums(), torch.zeros(2, 4), batch=Dim("batch", max=8))
    _export(here / "at_least_4.pt", Sums(), torch.zeros(5, 4), batch=Dim("batch", min=4, max=64))
    _export(here / "one.pt", Sums(), torch.zeros(1, 4))
    _export(here / "five.pt", Sums(), torch.zeros(5, 4))
    _export(here / "several.pt", Several(), torch.zeros(2, 3, dtype=torch.int64), batch=Dim.DYNAMIC)
    _export(here / "two.pt", Two(), torch.zeros(2, 4), torch.zeros(2, 4), batch=Dim.DYNAMIC)
    _script(here / "scripted.onnx", Sums())
    torch.save(Sums().state_dict(), here / "weights.pt2")
    torch.save(Sums(), here / "pickled.pt2")
    (here / "text.pt2").write_text("not a zip")
    return here


def _script(path: Path, module: nn.Module) -> None:
    with pytest.warns(DeprecationWarning, match=r"torch\.jit"):
        torch.jit.save(torch.jit.script(module), path)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    """Load a model like a CPU worker, from --model; sys.path is restored when the test ends."""
    monkeypatch.syspath_prepend("/")

    def run(reference: object, *, output: Output = "raw", max_batch_size: int = 32) -> Model:
        return load(str(reference), origin="--model", device="cpu", output=output, max_batch_size=max_batch_size)

    return run
