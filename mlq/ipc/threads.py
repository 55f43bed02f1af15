"""Threads: how mlq stops a thread that runs beside others, and how one thread wakes the event loop of another."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Final

PARTING_S: Final = 1.0
"""Seconds that `end` waits, so that a request that is under way can complete; it takes longer only if the server does
not answer."""


class StoppableThread(threading.Thread):
    """A thread that runs until it is asked to end.

    It is a daemon: a thread that waits for a server must not keep its process from ending. A subclass checks
    `is_ending`, or waits on `_ended`. If it also waits for something else, it overrides `_interrupt_wait`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._ended = threading.Event()

    @property
    def is_ending(self) -> bool:
        """Whether the thread was asked to end."""
        return self._ended.is_set()

    def ask_to_end(self) -> None:
        """Ask the thread to end, and return at once. Any thread may call this, also more than once."""
        self._ended.set()
        self._interrupt_wait()

    def end(self, timeout: float | None = PARTING_S) -> None:
        """Ask the thread to end, and wait up to `timeout` seconds until it has; None waits without a limit."""
        self.ask_to_end()
        if self.is_alive():  # it may not have been started
            self.join(timeout)

    def _interrupt_wait(self) -> None:
        """Interrupt what the thread waits for besides `_ended`."""


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
