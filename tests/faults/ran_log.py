"""The log of all runs: each task of a test writes a line to ran.log, which the test reads."""

from __future__ import annotations

from chaos.faultkit import World

WRITER = """
import os

def ran(name):
    file = os.open("ran.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(file, f"{name}\\n".encode())
    os.close(file)
"""
"""The beginning of a module of tasks."""


def read(world: World) -> list[str]:
    """Return the lines of the log."""
    log = world.directory / "ran.log"
    return log.read_text().splitlines() if log.exists() else []
