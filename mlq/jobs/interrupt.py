"""Interrupt: the first signal asks a waiting command to stop, the second stops it at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signalled(KeyboardInterrupt):
    """The second signal, by number. The exit code of the command is 128 and this number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Interrupt:
    """Whether a signal has asked the command to stop. The handler of the signal only records it; the loop acts."""

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self._on_first = on_first
        self.requested = False

    def request(self, number: int = signal.SIGINT) -> None:
        """Ask the command to stop. The second call raises Signalled in the loop."""
        if self.requested:
            raise Signalled(number)
        self.requested = True
        self._on_first()


@contextmanager
def handling_signals(interrupt: Interrupt) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP request the interrupt. A SIGHUP that `nohup` has set to be ignored stays so."""

    def handle(number: int, _: Any) -> None:
        interrupt.request(number)

    handled = [s for s in _SIGNALS if s != signal.SIGHUP or signal.getsignal(s) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
