"""The ready pipe, on which a worker reports to its supervisor that it takes work."""

from __future__ import annotations

import os
from typing import Final

VARIABLE: Final = "MLQ_STATUS_FD"
"""Environment variable of a worker: the descriptor of the pipe's writing end."""

READY: Final = "ready"
"""The model is loaded and the worker takes work."""


def report(word: str) -> None:
    """Write a line to the supervisor; a worker without a supervisor writes nothing."""
    fd = os.environ.get(VARIABLE)
    if fd is not None:
        os.write(int(fd), f"{word}\n".encode())
