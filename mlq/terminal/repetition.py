"""Repeating: a command that shows the same thing again and again, until Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from mlq.jobs.interrupt import Halt, heeding


def every(seconds: float | None) -> Iterator[None]:
    """Yield once, or every `seconds` until Ctrl-C, which is how a watch ends as it should.

    The signal only takes a note. Raised wherever the loop is just then, in a library's clean-up say, it could get lost.
    """
    if seconds is None:
        yield
        return
    asked = threading.Event()
    with heeding(Halt(asked.set)):
        yield
        while not asked.wait(seconds):
            yield
