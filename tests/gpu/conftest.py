"""Fixtures of the tests that need a real GPU. Without one they are skipped.

`tests/gpu/run.sh` sets GPU_REPORT: the outcome of each test and its facts go into that JSON file.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlq.errors import MlqError
from mlq.supervisor.devices import nvml
from mlq.supervisor.devices.gpus import Gpu
from tests.conftest import User

_facts = pytest.StashKey[dict[str, Any]]()
_checks: dict[str, dict[str, Any]] = {}


def _gpus() -> list[Gpu]:
    try:
        return nvml.offered(nvml.library(), os.environ)
    except MlqError:
        return []


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    """Return the first GPU of this machine."""
    gpus = _gpus()
    if not gpus:
        pytest.skip("no GPU on this machine")
    return gpus[0]


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return a function that adds facts (JSON values) to the report of this test."""
    facts: dict[str, Any] = request.node.stash.setdefault(_facts, {})
    return lambda **more: facts.update(more)


@pytest.fixture
def recorded(user: User) -> Callable[[], list[list[str]]]:
    """Return a function that reads what the models of models.py recorded: lines of words, process id first."""
    log = Path(user.environment["MODEL_LOG"])
    return lambda: [line.split() for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def compute_processes() -> Callable[[], dict[int, int]]:
    """Return a function that asks nvidia-smi for the processes on the GPU: process id to MiB of memory."""

    def ask() -> dict[int, int]:
        query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
        lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
        return {int(pid): int(mib) for pid, mib in (line.split(",") for line in lines)}

    return ask


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Collect the outcome of each test for the report."""
    report: pytest.TestReport = yield
    if report.when == "call" or (report.when == "setup" and not report.passed):
        facts = item.stash.get(_facts, {})
        _checks[item.name] = {"outcome": report.outcome, "seconds": round(call.duration, 1), **facts}
    return report


def pytest_sessionfinish() -> None:
    """Write the report."""
    path = os.environ.get("GPU_REPORT")
    if path:
        Path(path).write_text(json.dumps({"schema": "mlq.gpu/1", "checks": _checks}, indent=1) + "\n")
