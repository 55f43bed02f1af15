"""What an operator may write after --model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mlq.model import ModelRef


@pytest.mark.parametrize(
    ("text", "path", "module", "class_name"),
    [
        ("model.pt2", "model.pt2", None, None),
        ("models/v2/net", "models/v2/net", None, None),
        ("serve.py:Model", "serve.py", None, "Model"),
        ("/srv/serve.py:Model", "/srv/serve.py", None, "Model"),
        ("package.module:Model", None, "package.module", "Model"),
        ("models/v:2", "models/v:2", None, None),
    ],
)
def test_each_form_is_told_from_the_others(
    text: str, path: str | None, module: str | None, class_name: str | None
) -> None:
    """A file, a class in a file and a class in a module need no option to say which is which."""
    expected = ModelRef(name=text, path=None if path is None else Path(path), module=module, class_name=class_name)
    assert ModelRef.parse(text) == expected


def test_a_file_whose_name_has_a_colon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there wins over what the name looks like."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net:v2").touch()
    assert ModelRef.parse("net:v2").class_name is None


def test_the_fingerprint_is_the_files(tmp_path: Path) -> None:
    """Two workers that serve different bytes under one name can be told apart."""
    path = tmp_path / "model.pt2"
    path.write_bytes(b"weights")
    assert ModelRef.parse(str(path)).fingerprint() == hashlib.sha256(b"weights").hexdigest()[:12]


def test_the_fingerprint_of_a_module_is_its_source_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module is found from the directory in which the worker runs."""
    monkeypatch.syspath_prepend("/")  # restores sys.path, to which the directory is added
    monkeypatch.chdir(tmp_path)
    (tmp_path / "served_here.py").write_text("class Model: ...\n")
    expected = hashlib.sha256(b"class Model: ...\n").hexdigest()[:12]
    assert ModelRef.parse("served_here:Model").fingerprint() == expected
