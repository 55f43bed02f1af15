"""Wheels for the environments of tests: this version, the version in tests/upgrade/BASE, and the other mlq of PyPI."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Final

import pytest

from benchmarks.environments import ROOT, NoSuchCommit, build_wheel, build_wheel_of_commit

BASE: Final = ROOT / "tests" / "upgrade" / "BASE"
"""The file that names the commit of the version beside which this one must work."""


def this_version(directory: Path) -> Path:
    """Build the wheel of this version."""
    _skip_without_hatchling()
    return build_wheel(ROOT, directory)


def base_version(directory: Path) -> Path:
    """Build the wheel of the version that BASE names; skip the test if the repository lacks its commit."""
    _skip_without_hatchling()
    commit = BASE.read_text().strip()
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    try:
        return build_wheel_of_commit(commit, directory)
    except NoSuchCommit as why:
        fix = f"a shallow clone has no history: `git fetch --depth 1 origin {commit}` gets the commit"
        pytest.skip(f"the commit in tests/upgrade/BASE is not in this repository ({why}); {fix}")


def _skip_without_hatchling() -> None:
    pytest.importorskip("hatchling.builders.wheel", reason="the wheel is built with hatchling")


def foreign_wheel(directory: Path, *, name: str = "mlq", version: str = "0.2.2") -> Path:
    """Write a wheel with the files of the other project called mlq: an empty package, and its extra files."""
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
    """Return the environment without variables that would make Python import the mlq under test, or configure it."""
    return {k: v for k, v in environ.items() if k != "PYTHONPATH" and not k.startswith(("MLQ_", "CELERY_"))}


def private(directory: Path) -> dict[str, str]:
    """Return the environment of a user whose files are all in one directory."""
    mine = {"HOME": str(directory), "XDG_STATE_HOME": str(directory), "XDG_CONFIG_HOME": str(directory / "config")}
    return {**without_mlq(dict(os.environ)), **mine}
