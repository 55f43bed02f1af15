"""The forms of a model reference that an operator may write after --model."""

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
def test_each_form_is_recognized(text: str, path: str | None, module: str | None, class_name: str | None) -> None:
    """A file, a class in a file and a class in a module need no extra option."""
    expected = ModelRef(name=text, path=None if path is None else Path(path), module=module, class_name=class_name)
    assert ModelRef.parse(text) == expected


def test_a_file_whose_name_has_a_colon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing file takes precedence over the form of the name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net:v2").touch()
    assert ModelRef.parse("net:v2").class_name is None


def test_the_fingerprint_identifies_the_content_of_the_file(tmp_path: Path) -> None:
    """Workers that serve different files of the same name have different fingerprints."""
    path = tmp_path / "model.pt2"
    path.write_bytes(b"weights")
    assert ModelRef.parse(str(path)).fingerprint() == hashlib.sha256(b"weights").hexdigest()[:12]


@pytest.mark.parametrize("crc", [True, False])
def test_the_fingerprint_of_a_torch_file_depends_on_its_weights_only(tmp_path: Path, *, crc: bool) -> None:
    """A copy under another name is the same model; other weights of the same shape are another one.

    The directory of the archive tells, without a look at the weights, unless it was saved without checksums.
    """
    torch = pytest.importorskip("torch")
    torch.serialization.set_crc32_options(crc)
    try:
        for name, value in (("one.pt", 1.0), ("other.pt", 2.0)):
            torch.save({"weights": torch.full((100,), value)}, tmp_path / name)
    finally:
        torch.serialization.set_crc32_options(True)
    copy = tmp_path / "copy.pt"
    copy.write_bytes((tmp_path / "one.pt").read_bytes())
    one, other, same = (ModelRef.parse(str(tmp_path / f"{n}.pt")).fingerprint() for n in ("one", "other", "copy"))
    assert one == same != other
    if crc:
        torch.save({"weights": torch.full((100,), 1.0)}, tmp_path / "again.pt")
        assert ModelRef.parse(str(tmp_path / "again.pt")).fingerprint() == one


def test_the_fingerprint_of_a_class_depends_on_its_source_and_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may define several models. Modules are searched in the directory where the worker runs."""
    monkeypatch.syspath_prepend("/")  # restores sys.path, to which the directory is added
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "served_here.py"
    source.write_text("class Model: ...\nclass Other: ...\n")
    by_module, by_file, other = (
        ModelRef.parse(text).fingerprint()
        for text in ("served_here:Model", "served_here.py:Model", "served_here:Other")
    )
    assert by_module == by_file != other
    source.write_text("class Model: ...\nclass Other: pass\n")
    assert ModelRef.parse("served_here:Model").fingerprint() != by_module
