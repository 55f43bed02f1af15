"""Interrupt: the first signal asks a waiting command to stop, the second stops it at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signalled(KeyboardInterrupt):
    """The second signal came. `number` is the signal, of which the exit code tells (128 and the number)."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Halt:
    """Whether the command was asked to end. The signal only takes a note; the loop acts."""

    def __init__(self, asked_once: Callable[[], None] = lambda: None) -> None:
        self._asked_once = asked_once
        self.asked = False

    def ask(self, number: int = signal.SIGINT) -> None:
        """Ask; the second time raises Signalled where the loop is."""
        if self.asked:
            raise Signalled(number)
        self.asked = True
        self._asked_once()


@contextmanager
def heeding(halt: Halt) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP ask for the end, meanwhile; what `nohup` has set to be ignored stays ignored."""

    def heed(number: int, _: Any) -> None:
        halt.ask(number)

    heeded = [s for s in _SIGNALS if s != signal.SIGHUP or signal.getsignal(s) is not signal.SIG_IGN]
    before = {number: signal.signal(number, heed) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
