"""Signals as bytes on a socket, for an event loop. A handler could interrupt the loop between any two instructions."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def watched(numbers: Collection[signal.Signals]) -> Iterator[socket.socket]:
    """Yield a socket on which the number of every signal arrives; the signals in `numbers` have no other effect."""
    reader, writer = socket.socketpair()
    for end in (reader, writer):
        end.settimeout(0)
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield reader
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        reader.close()
        writer.close()


@contextmanager
def recorded(number: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether the signal came; its handler runs as before.

    A handler's exception is not enough: Python drops a KeyboardInterrupt without a trace if it is raised inside a
    finalizer.
    """
    handler, came = signal.getsignal(number), False

    def record(signum: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        if callable(handler):
            handler(signum, frame)

    if callable(handler):
        signal.signal(number, record)
    try:
        yield lambda: came
    finally:
        if callable(handler):
            signal.signal(number, handler)
