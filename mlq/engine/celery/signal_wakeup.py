"""Signal wakeup: a signal ends the wait of kombu's loop, so that an idle worker ends at once when it is told to.

Celery's handlers set a flag that its loop looks at between two waits, and Python goes on with a wait that a signal has
interrupted. Where Celery's own transport takes the messages an idle worker would look when a timer wakes it, up to 10 s
later.
"""

from __future__ import annotations

import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from celery import bootsteps

if TYPE_CHECKING:
    from celery import Celery

_AT_ONCE: Final = 4096
"""Bytes read with one call: each signal writes one."""


def install(app: Celery) -> None:
    """Let the worker of this app look at its orders after every signal. Call it in the main thread."""
    reader, writer = socket.socketpair()
    for end in (reader, writer):
        end.settimeout(0)
    # Written by the C code that receives the signal, before Python runs its handler or goes back to the wait.
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def clear() -> None:
        with suppress(BlockingIOError):
            reader.recv(_AT_ONCE)

    class WakeOnSignal(bootsteps.StartStopStep):
        _writer = writer  # kept open as long as signals are written to it

        def start(self, parent: Any) -> None:
            """Watch the socket. A lost connection empties the loop, and this step starts again with the next one."""
            if parent.hub is not None:
                parent.hub.add_reader(reader.fileno(), clear)

    app.steps["consumer"].add(WakeOnSignal)
