"""The format of a model file is recognized by its content."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlq.model.files.formats import ModelFormat, format_from_members, format_of


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("dynamic.pt", ModelFormat.EXPORTED),
        ("scripted.onnx", ModelFormat.TORCHSCRIPT),
        ("weights.pt2", ModelFormat.WEIGHTS),
        ("pickled.pt2", ModelFormat.WEIGHTS),
        ("text.pt2", ModelFormat.UNKNOWN),
    ],
)
def test_a_file_of_torch_is_recognized_under_a_wrong_suffix(files: Path, file: str, found: ModelFormat) -> None:
    """The files are written by the installed torch."""
    assert format_of(files / file) is found


def test_a_compiled_package_is_recognized() -> None:
    """The members are from aoti_compile_and_package of torch 2.13; compiling a package takes a minute."""
    compiled = ["m/data/aotinductor/model/cr7y.wrapper.cpp", "m/data/aotinductor/model/cr7y.wrapper.so", "m/version"]
    assert format_from_members(compiled) is ModelFormat.AOTINDUCTOR
    assert format_from_members([*compiled, "m/models/model.json"]) is ModelFormat.EXPORTED


def test_any_other_archive_is_unknown() -> None:
    """A wheel is a zip archive, too."""
    assert format_from_members(["mlq/__init__.py", "mlq.dist-info/METADATA"]) is ModelFormat.UNKNOWN
