"""The model that an operator named: a file, `file.py:Class` or `package.module:Class`."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from mlq.model.failure import NotServable
from mlq.model.files.fingerprint import fingerprint
from mlq.model.places import search_first


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
                mend="name a file (model.pt2) or a class (serve.py:Model, package.module:Model)",
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
            mend=refused or "start the worker where it can be imported, or name the file: serve.py:Model",
        )
    return Path(spec.origin)
