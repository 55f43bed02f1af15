"""The log of what ran: the user's own tasks of a test write a line each into ran.log, and the test reads them."""

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
    """Say what ran."""
    log = world.directory / "ran.log"
    return log.read_text().splitlines() if log.exists() else []
