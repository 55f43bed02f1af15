"""The repetition of a command's output at an interval, until Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from mlq.jobs.interrupt import Interrupt, handling_signals


def every(seconds: float | None) -> Iterator[None]:
    """Yield once, or every `seconds` until Ctrl-C, which ends the iteration normally.

    The handler of the signal only sets a flag: an exception raised in the middle of a library's cleanup could get lost.
    """
    if seconds is None:
        yield
        return
    ended = threading.Event()
    with handling_signals(Interrupt(ended.set)):
        yield
        while not ended.wait(seconds):
            yield
