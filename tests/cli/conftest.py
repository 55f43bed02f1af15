"""Fixtures that run mlq as a new user: no configuration, no broker, an empty directory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

OURS = ("MLQ_", "CELERY_", "XDG_", "NO_COLOR", "FORCE_COLOR")


@pytest.fixture
def place(state: Path) -> Path:
    """Return the working directory of a test's commands; no directory above it configures mlq."""
    (state / "here").mkdir()
    return state / "here"


@pytest.fixture
def environ(state: Path) -> dict[str, str]:
    """Return the environment of those commands: private directories, and this interpreter's mlq first on the PATH."""
    private = {"HOME": str(state), "XDG_STATE_HOME": f"{state}/state", "XDG_CONFIG_HOME": f"{state}/config"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**{k: v for k, v in os.environ.items() if not k.startswith(OURS)}, **private, "PATH": path}


@pytest.fixture
def mlq(place: Path, environ: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs mlq with these arguments; keywords are added to its environment."""

    def run(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mlq", *args],
            cwd=place,
            env={**environ, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
