"""Signal wakeup: a signal ends the wait of kombu's loop, so that an idle worker reacts to it at once.

Celery's signal handlers set a flag, which its loop reads between two waits, and Python resumes a wait that a signal
interrupted. Without this, an idle worker with Celery's own transport would react up to 10 s later.
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
"""Bytes read with one call; each signal writes one."""


def install(app: Celery) -> None:
    """Let the worker of this app react to a signal at once. Call this in the main thread."""
    reader, writer = socket.socketpair()
    for end in (reader, writer):
        end.settimeout(0)
    # The C code that receives a signal writes to it, before Python runs the handler or resumes the wait.
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def clear() -> None:
        with suppress(BlockingIOError):
            reader.recv(_AT_ONCE)

    class WakeOnSignal(bootsteps.StartStopStep):
        _writer = writer  # keeps the socket open while signals are written to it

        def start(self, parent: Any) -> None:
            """Watch the socket. A lost connection clears the loop; this step starts again with the next connection."""
            if parent.hub is not None:
                parent.hub.add_reader(reader.fileno(), clear)

    app.steps["consumer"].add(WakeOnSignal)
