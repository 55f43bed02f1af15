"""The machine and the versions of a run."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil

from benchmarks.server import Server
from mlq.broker import embedded

_PACKAGES: Final = ("mlq-cli", "celery", "kombu", "redis", "torch", "numpy", "orjson", "rq", "dramatiq")


def description() -> str:
    """Return the processor, its cores, the memory, the system, and the load."""
    memory = psutil.virtual_memory().total / 2**30
    load = ", ".join(f"{x:.2f}" for x in os.getloadavg())
    cores = psutil.cpu_count()
    return f"{_processor()}, {cores} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}; load {load}"


def versions(at: Server) -> str:
    """Return the versions of everything that is measured."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return f"Python {platform.python_version()}, {at.version()}, {packages}; commit {commit()}"


def server() -> str:
    """Return the server program of the fault kit and the embedded broker with its version: "Redis 7.0.15"."""
    output = subprocess.run([embedded.program(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"(\w+) server v=([\d.]+)", output)
    return " ".join(found.groups()) if found else output.strip()


def _processor() -> str:
    return next(_models(), platform.machine())


def _models() -> Iterator[str]:
    listed = Path("/proc/cpuinfo")
    for line in listed.read_text().splitlines() if listed.exists() else []:
        if line.startswith("model name"):
            yield line.partition(":")[2].strip()


def commit() -> str:
    """Return the commit that is measured."""
    argv = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(argv, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "none yet"
