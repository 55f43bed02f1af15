"""The model that an operator named: a file, `file.py:Class` or `package.module:Class`."""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlq.model.failure import NotServable
from mlq.model.places import search_first

_DIGITS: Final = 12


def fingerprint(path: Path, class_name: str | None = None) -> str:
    """Give 12 hex digits for a file that is a model, or that defines the class of this name.

    What torch saves is a zip archive, whose directory holds a CRC-32 of every member: 0.2 ms for 484 MB of weights,
    where their sha256 took 330 ms. It does not depend on the file's name or the time of export. Other files, and
    archives without CRCs (torch.serialization.set_crc32_options), are read whole. This tells versions apart that
    differ by mistake or by training; it is no protection from whoever forges one. Of a class it is the source file
    that counts, not the weights that its setup() loads.
    """
    digest = hashlib.sha256()
    members = _members(path) if class_name is None else None
    if members is None:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    else:
        digest.update(repr(members).encode())
    if class_name is not None:
        digest.update(b"\0" + class_name.encode())
    return digest.hexdigest()[:_DIGITS]


def _members(path: Path) -> list[tuple[str, int, int]] | None:
    """List name, CRC-32 and size of an archive's members; the first folder is named after the file, and left out."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
    if any(info.file_size and not info.CRC for info in files):
        return None
    return sorted((info.filename.partition("/")[2] or info.filename, info.CRC, info.file_size) for info in files)


@dataclass(frozen=True)
class ModelRef:
    """`name` is what the operator wrote; `class_name` is None for a file that is itself the model."""

    name: str
    path: Path | None
    module: str | None = None
    class_name: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Read what the operator wrote; whether it is there shows when it is loaded.

        A file of that very name wins, so that a colon in a file's name is no trouble.
        """
        left, colon, class_name = text.rpartition(":")
        if not colon or Path(text).is_file():
            return cls(name=text, path=Path(text))
        if left.endswith(".py"):
            return cls(name=text, path=Path(left), class_name=class_name)
        if all(part.isidentifier() for part in left.split(".")):
            return cls(name=text, path=None, module=left, class_name=class_name)
        return cls(name=text, path=Path(text))

    def fingerprint(self) -> str:
        """Tell one version of the model from another. Raises NotServable if there is no such file."""
        return fingerprint(self.source(), self.class_name)

    def source(self) -> Path:
        """Find the file that is the model, or that defines its class. Raises NotServable if there is none."""
        path = self.path or _module_file(self.module or "")
        if not path.is_file():
            raise NotServable(
                f"{path} is a directory" if path.is_dir() else f"there is no file {path} in {Path.cwd()}",
                fix="name a file (model.pt2) or a class (serve.py:Model, package.module:Model)",
            )
        return path


def _module_file(module: str) -> Path:
    refused = search_first(Path.cwd())
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.has_location or spec.origin is None:
        raise NotServable(
            f"Python finds no module {module!r} from {Path.cwd()}",
            fix=refused or "start the worker where it can be imported, or name the file: serve.py:Model",
        )
    return Path(spec.origin)
