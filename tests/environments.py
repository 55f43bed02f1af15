"""Environments with mlq installed by pip, this version or another: no network, and no second copy of torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
BASE: Final = ROOT / "tests" / "upgrade" / "BASE"
"""Names the commit of the version beside which this one must work."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment: its own mlq, the other packages from the environment that runs the tests."""

    directory: Path

    @classmethod
    def create(cls, directory: Path) -> Environment:
        """Make one without mlq. A .pth file names other directories without reading the .pth files in these.

        So mlq, which is installed as editable where the tests run, stays out.
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
        """Where pip installs packages."""
        (found,) = self.directory.glob("lib/python3*/site-packages")
        return found

    def install(self, wheel: Path) -> None:
        """Let pip install a wheel, over what is there."""
        self._pip("install", "--no-deps", "--no-index", "--no-compile", "--force-reinstall", str(wheel))

    def uninstall(self, distribution: str) -> None:
        """Let pip remove a distribution."""
        self._pip("uninstall", "-y", distribution)

    def _pip(self, *words: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", self.python, "-q", "--disable-pip-version-check", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr


def this_version(directory: Path) -> Path:
    """Build the wheel of this version."""
    return _wheel(ROOT, directory)


def base_version(directory: Path) -> Path:
    """Build the wheel of the version that BASE names; skip the test where its commit is not there."""
    commit = BASE.read_text().strip()
    git = shutil.which("git") or pytest.skip("git is not installed")
    found = subprocess.run([git, "archive", "--format=zip", commit], cwd=ROOT, capture_output=True, check=False)
    if found.returncode:
        why = found.stderr.decode(errors="replace").strip()
        mend = f"a shallow clone has no history: `git fetch --depth 1 origin {commit}` gets the commit"
        pytest.skip(f"the commit in tests/upgrade/BASE is not in this repository ({why}); {mend}")
    tree = directory / "tree"
    with zipfile.ZipFile(BytesIO(found.stdout)) as archive:  # tarfile wants a filter, which 3.11.2 lacks
        archive.extractall(tree)
    try:
        return _wheel(tree, directory)
    finally:
        shutil.rmtree(tree)


def _wheel(tree: Path, directory: Path) -> Path:
    builder = pytest.importorskip("hatchling.builders.wheel", reason="the wheel is built with hatchling")
    (wheel,) = builder.WheelBuilder(str(tree)).build(directory=str(directory), versions=["standard"])
    return Path(wheel)


def foreign_wheel(directory: Path, *, name: str = "mlq", version: str = "0.2.2") -> Path:
    """Write a wheel with the files of the other project of our name: an empty package, and what it adds."""
    info = f"{name}-{version}.dist-info"
    files = {
        "mlq/__init__.py": "",
        "mlq/queue.py": "class MLQ: ...\n",
        "controller/__init__.py": "",
        "controller/app.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [*(f"{path},," for path in files), f"{info}/RECORD,,"]
    path = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": "\n".join(record) + "\n"}.items():
            archive.writestr(file, text)
    return path


def without_mlq(environ: dict[str, str]) -> dict[str, str]:
    """Leave out what would make another Python import the mlq under test, or configure it."""
    return {k: v for k, v in environ.items() if k != "PYTHONPATH" and not k.startswith(("MLQ_", "CELERY_"))}


def private(directory: Path) -> dict[str, str]:
    """Give the environment variables of a user whose world is one directory."""
    mine = {"HOME": str(directory), "XDG_STATE_HOME": str(directory), "XDG_CONFIG_HOME": str(directory / "config")}
    return {**without_mlq(dict(os.environ)), **mine}
