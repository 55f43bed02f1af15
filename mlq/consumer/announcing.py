"""Announcing: STARTED is written of what has been running for a while, where it matters, and free elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from mlq.consumer.envelope import Message

AFTER_S: Final = 0.1

Announce = Callable[[Message], None]


class Announcing(threading.Thread):
    """Calls `announce` once for each message that is still running after AFTER_S."""

    def __init__(self, announce: Announce) -> None:
        super().__init__(name="mlq-announcing", daemon=True)
        self._announce = announce
        self._running: Sequence[Message] = ()
        self._began = threading.Event()

    def began(self, messages: Sequence[Message]) -> None:
        """Tell what runs now. Cheap: it is called for every batch."""
        self._running = messages
        self._began.set()

    def ended(self) -> None:
        """Nothing runs any more."""
        self._running = ()
        self._began.clear()

    def run(self) -> None:
        """Look at what runs, and again a while later whether it is still the same."""
        announced: Sequence[Message] = ()
        pause = threading.Event()
        while True:
            self._began.wait()
            before = self._running
            pause.wait(AFTER_S)
            if before and before is self._running and before is not announced:
                announced = before
                for message in before:
                    self._announce(message)
