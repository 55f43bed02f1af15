"""The packages that each command may load. The tests check module names, because times vary."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPORT = """
import json, pathlib, sys
pathlib.Path("modules").write_text(json.dumps([m.partition(".")[0] for m in sys.modules]))
"""


def loaded_packages(code: str, place: Path, environ: dict[str, str]) -> set[str]:
    """Run code in a fresh interpreter and return the top-level packages that it loaded."""
    subprocess.run([sys.executable, "-c", code + REPORT], cwd=place, env=environ, check=True, timeout=60)
    return set(json.loads((place / "modules").read_text()))


def command_code(*args: str, code: int = 0) -> str:
    """Return code that runs a command, which must end with this exit code."""
    return f"from mlq.cli.main import run\nassert run({list(args)!r}) == {code}"


HEAVY = {"celery", "kombu", "redis", "torch", "numpy", "rich", "psutil", "pynvml", "pydantic"}


@pytest.mark.parametrize("args", [["--help"], ["--version"], []])
def test_help_and_version_load_nothing_heavy(args: list[str], place: Path, environ: dict[str, str]) -> None:
    """A new user tries these first."""
    assert not loaded_packages(command_code(*args), place, environ) & HEAVY


@pytest.mark.parametrize("args", [["config"], ["config", "--json"], ["values", "queues"]])
def test_showing_settings_needs_no_broker(args: list[str], place: Path, environ: dict[str, str]) -> None:
    """Settings are read from files, and shell completion asks for queue names at every TAB."""
    assert not loaded_packages(command_code(*args), place, environ) & {"celery", "kombu", "redis", "torch", "numpy"}


def test_values_are_printed_without_rich(place: Path, environ: dict[str, str]) -> None:
    """Loading a table library would delay every TAB."""
    assert not loaded_packages(command_code("values", "queues"), place, environ) & HEAVY


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("mlq.supervisor.event_loop", {"celery", "torch", "numpy", "rich", "typer"}),
        ("mlq.supervisor.session", {"celery", "torch", "numpy", "rich", "typer"}),
        ("mlq.supervisor.supervisor", {"celery", "torch", "numpy", "kombu", "redis", "rich", "typer"}),
        ("mlq.store.queues.overview", {"celery", "torch", "numpy", "rich", "typer"}),
        ("mlq.commands.queues", {"celery", "torch", "numpy"}),
        ("mlq.commands.worker", {"celery", "torch", "numpy"}),
        ("mlq.commands.up", {"celery", "torch", "numpy"}),
        ("mlq.model", {"celery", "torch", "numpy", "kombu", "redis"}),
        ("mlq.settings.config", HEAVY | {"typer"}),
        ("mlq", HEAVY | {"typer"}),
    ],
)
def test_a_package_loads_only_what_it_needs(
    module: str, banned: set[str], place: Path, environ: dict[str, str]
) -> None:
    """A supervisor lives as long as its workers, and must not keep torch or Celery in memory."""
    assert not loaded_packages(f"import {module}", place, environ) & banned


def test_queues_are_read_without_celery(place: Path, environ: dict[str, str]) -> None:
    """Even if the broker is away: kombu and redis are enough to report that."""
    code = command_code("queues", "--broker", "redis://127.0.0.1:1/0", code=4)
    assert not loaded_packages(code, place, environ) & {"celery", "torch", "numpy"}
