"""Wakeup: a descriptor with which one thread wakes the event loop of another."""

from __future__ import annotations

import os
from contextlib import suppress


class Wakeup:
    """An event descriptor. Rings are not counted: one `clear` takes all rings so far."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)

    def ring(self) -> None:
        """Make the descriptor readable. Any thread may call this."""
        os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        """Make the descriptor unreadable again. Call this before the work is fetched, or a ring in between is lost."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)
