"""Wakeup: a descriptor that one thread rings and another's event loop watches."""

from __future__ import annotations

import os
from contextlib import suppress


class Wakeup:
    """Rings are not counted: however many came since, `clear` takes them all."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)

    def ring(self) -> None:
        """Make the descriptor readable; from any thread."""
        os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        """Make it wait again; call this before looking at what was rung for."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)
