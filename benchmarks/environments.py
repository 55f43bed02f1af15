"""Environments with mlq installed by pip, this version or another: no network, and no second copy of torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_PIP_WITHIN_S: Final = 120.0


class NoSuchCommit(RuntimeError):
    """The requested commit is not in this repository."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment with its own mlq, and the other packages of the environment that runs this code."""

    directory: Path

    @classmethod
    def create(cls, directory: Path) -> Environment:
        """Create one without mlq. A .pth file names other directories without reading their .pth files.

        So the editable mlq of the environment that runs this code is not found.
        """
        venv.EnvBuilder(symlinks=True).create(directory)
        made = cls(directory)
        others = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
        (made.packages / "others.pth").write_text("\n".join(others) + "\n")
        return made

    @property
    def python(self) -> str:
        """The interpreter."""
        return str(self.directory / "bin" / "python")

    @property
    def mlq(self) -> str:
        """The command `mlq`."""
        return str(self.directory / "bin" / "mlq")

    @property
    def packages(self) -> Path:
        """The directory in which pip installs packages."""
        (found,) = self.directory.glob("lib/python3*/site-packages")
        return found

    def install(self, wheel: Path) -> None:
        """Install a wheel with pip; it replaces the files of an installed version."""
        self._pip("install", "--no-deps", "--no-index", "--no-compile", "--force-reinstall", str(wheel))

    def uninstall(self, distribution: str) -> None:
        """Remove a distribution with pip."""
        self._pip("uninstall", "-y", distribution)

    def _pip(self, *words: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", self.python, "-q", "--disable-pip-version-check", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PIP_WITHIN_S)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")


def build_wheel(tree: Path, directory: Path) -> Path:
    """Build the wheel of a source tree; hatchling must be installed."""
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(tree)).build(directory=str(directory), versions=["standard"])
    return Path(wheel)


def build_wheel_of_commit(commit: str, directory: Path) -> Path:
    """Build the wheel of a commit of this repository; git must be installed. Raises NoSuchCommit."""
    argv = ["git", "archive", "--format=zip", commit, "--"]
    found = subprocess.run(argv, cwd=ROOT, capture_output=True, check=False)
    if found.returncode:
        raise NoSuchCommit(found.stderr.decode(errors="replace").strip())
    tree = directory / "tree"
    with zipfile.ZipFile(BytesIO(found.stdout)) as archive:  # tarfile needs a filter, which Python 3.11.2 lacks
        archive.extractall(tree)
    try:
        return build_wheel(tree, directory)
    finally:
        shutil.rmtree(tree)
