"""Halting: Ctrl-C once stops sending and collects what is on its way; twice, it leaves that to another time."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Halt:
    """Whether somebody asked for an end. The signal only takes a note; the loop acts."""

    def __init__(self, asked_once: Callable[[], None] = lambda: None) -> None:
        self._asked_once = asked_once
        self.asked = False

    def ask(self) -> None:
        """Ask; the second time raises KeyboardInterrupt where the loop is."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._asked_once()


@contextmanager
def heeding(halt: Halt) -> Iterator[None]:
    """Let SIGINT ask for the end, meanwhile."""

    def heed(*_: Any) -> None:
        halt.ask()

    before = signal.signal(signal.SIGINT, heed)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
