"""File models: which ones load, what they answer, and the errors of those that do not load."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mlq.errors import InvalidModel
from mlq.model import Model, RowFailure

Serve = Callable[..., Model]
ROWS = [[1, 2, 3, 4], [0.5, 0, 0, 0]]
SUMS = [[10.0, -10.0], [0.5, -0.5]]


@pytest.mark.parametrize("file", ["dynamic.pt", "at_most_8.pt", "one.pt", "scripted.onnx"])
def test_a_file_answers_the_models_numbers_in_order(files: Path, serve: Serve, file: str) -> None:
    """This holds for each format, and for each number of rows that a file takes at once."""
    model = serve(files / file)
    assert model.predict(ROWS * 20) == SUMS * 20
    assert model.predict([]) == []


@pytest.mark.parametrize(("file", "rows"), [("dynamic.pt", 32), ("at_most_8.pt", 8), ("one.pt", 1)])
def test_the_export_decides_how_many_rows_share_a_forward(files: Path, serve: Serve, file: str, rows: int) -> None:
    """A bound of the program applies; without one the setting applies."""
    assert serve(files / file, max_batch_size=32).max_batch_size == rows


@pytest.mark.parametrize(
    ("file", "reason", "fix"),
    [
        ("five.pt", "exported for batches of exactly 5 rows", "torch.export.Dim.DYNAMIC"),
        ("at_least_4.pt", "rows.size()[0] >= 4", "--debug"),
        ("two.pt", "takes (left, right), not one tensor of rows", "file.py:Class"),
        ("weights.pt2", "holds weights", "whose setup() loads the weights"),
        ("pickled.pt2", "no program to run", "torch.export.save"),
        ("text.pt2", "neither an exported program (torch.export.save) nor TorchScript", "torch.export.save"),
        ("missing.pt2", "there is no file", "serve.py:Model"),
        ("", "is a directory", "model.pt2"),
    ],
)
def test_a_file_that_cannot_be_served_is_refused_with_a_fix(
    files: Path, serve: Serve, file: str, reason: str, fix: str
) -> None:
    """It is refused at startup with its name and origin, not at the first message."""
    with pytest.raises(InvalidModel) as refused:
        serve(files / file)
    assert reason in refused.value.message
    assert f"{files / file} (from --model)" in refused.value.message
    assert fix in refused.value.hint


def test_a_warning_says_once_that_torchscript_is_deprecated(
    files: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Python does not show torch's warning to operators."""
    caplog.set_level(logging.WARNING)
    serve(files / "scripted.onnx").predict(ROWS)
    assert [record.name for record in caplog.records] == ["mlq.model"]
    assert "deprecates" in caplog.text


def test_every_call_is_in_inference_mode(files: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one, too: a TorchScript module specializes itself for the mode of its first calls."""
    modes: list[bool] = []
    real = torch.from_numpy

    def watched(array: Any) -> torch.Tensor:
        modes.append(torch.is_inference_mode_enabled())
        return real(array)

    monkeypatch.setattr(torch, "from_numpy", watched)
    for file in ("dynamic.pt", "scripted.onnx"):
        model = serve(files / file)
        assert [model.predict(ROWS) for _ in range(3)] == [SUMS] * 3
    assert modes == [True] * 7  # three forwards each, and the warm-up of the one that says what it takes


@pytest.mark.parametrize("file", ["dynamic.pt", "scripted.onnx"])
@pytest.mark.parametrize("bad", [[1, 2, 3], ["1", "2", "3", "4"], [1, 2, 3, None], {"x": 1}, 7])
def test_a_row_of_a_wrong_type_fails_alone(files: Path, serve: Serve, file: str, bad: object) -> None:
    """A string is not converted to a number, and null not to NaN."""
    good, failed, also_good = serve(files / file).predict([ROWS[0], bad, ROWS[1]])
    assert [good, also_good] == SUMS
    assert isinstance(failed, RowFailure)
    assert not failed.retryable


def test_the_error_about_a_wrong_width_names_both_widths(files: Path, serve: Serve) -> None:
    """The expected width is known from the signature."""
    (failed,) = serve(files / "dynamic.pt").predict([[1, 2, 3]])
    assert isinstance(failed, RowFailure)
    assert str(failed.error) == "the model takes rows of shape [4], not [3]"


def test_an_error_of_torchscript_is_one_line(files: Path, serve: Serve) -> None:
    """TorchScript itself writes more than twenty lines."""
    (failed,) = serve(files / "scripted.onnx").predict([[1, 2, 3]])
    assert isinstance(failed, RowFailure)
    assert str(failed.error) == "mat1 and mat2 shapes cannot be multiplied (1x3 and 4x2)"


def test_a_dict_of_tensors_becomes_a_dict_a_row(files: Path, serve: Serve) -> None:
    """A list inside it becomes a list a row; and 1.5 is not rounded for a model of integers."""
    first, second, failed = serve(files / "several.pt").predict([[1, 2, 3], [4, 5, 6], [1.5, 0, 0]])
    assert first == {"sum": 6, "ends": [1, 3]}
    assert second == {"sum": 15, "ends": [4, 6]}
    assert isinstance(failed, RowFailure)


def test_infinity_fails_its_row_alone(files: Path, serve: Serve) -> None:
    """JSON cannot represent it, and null would be wrong."""
    fine, failed = serve(files / "dynamic.pt").predict([ROWS[0], [3e38] * 4])
    assert fine == SUMS[0]
    assert isinstance(failed, RowFailure)
    assert "NaN or Infinity, which JSON cannot carry" in str(failed.error)


def test_classify_answers_class_and_confidence(files: Path, serve: Serve) -> None:
    """It uses softmax, four decimals, and names the device."""
    model = serve(files / "dynamic.pt", output="classify")
    assert model.predict([[0.25, 0.25, 0, 0], [-1, 0, 0, 0]]) == [
        {"class": 0, "confidence": 0.7311, "device": "cpu"},
        {"class": 1, "confidence": 0.8808, "device": "cpu"},
    ]


def test_classify_needs_scores(files: Path, serve: Serve) -> None:
    """A model with another output is refused during its warm-up."""
    with pytest.raises(InvalidModel, match="classify takes a tensor of rows by classes, not a dict"):
        serve(files / "several.pt", output="classify")
