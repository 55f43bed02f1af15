"""Signals, for an event loop: bytes on a socket. A handler that acted could interrupt the loop anywhere."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def watched(numbers: Collection[signal.Signals]) -> Iterator[socket.socket]:
    """Give a socket on which the number of every signal arrives; those of `numbers` do nothing else meanwhile."""
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
def remembered(number: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Tell whether a signal came, beside what its handler does.

    Python raises KeyboardInterrupt wherever it is at that moment, and drops it without a word inside a finalizer.
    """
    handler, came = signal.getsignal(number), False

    def heed(signum: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        if callable(handler):
            handler(signum, frame)

    if callable(handler):
        signal.signal(number, heed)
    try:
        yield lambda: came
    finally:
        if callable(handler):
            signal.signal(number, handler)
