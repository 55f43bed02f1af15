"""The status pipe: what a worker tells the supervisor that started it."""

from __future__ import annotations

import os
from typing import Final

VARIABLE: Final = "MLQ_STATUS_FD"
"""Names the pipe's writing end in the worker's environment."""

READY: Final = "ready"
"""The model is loaded and the consumer takes work."""


def tell(word: str) -> None:
    """Write a line to the supervisor; a worker without one tells nobody."""
    fd = os.environ.get(VARIABLE)
    if fd is not None:
        os.write(int(fd), f"{word}\n".encode())
