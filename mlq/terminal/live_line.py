"""The bottom line: what goes on now, under all that is said, rewritten in place; only where a person looks."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from types import TracebackType

from mlq.terminal.printable import printable
from mlq.terminal.terminal import Terminal


class LiveLine(logging.Handler):
    """Shows a line until it is taken away; what this process logs meanwhile goes above it, like all talk."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._terminal = terminal
        self._shown = terminal.animated and not terminal.json
        self._changing = threading.RLock()

    def __enter__(self) -> None:
        # Without a handler Python writes warnings to stderr by itself: into the line.
        if self._shown:
            logging.getLogger().addHandler(self)

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.leave()
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Say what was logged."""
        self._terminal.warn(printable(record.getMessage(), limit=4000))

    def show(self, text: str) -> None:
        """Show this from now on, if anybody looks."""
        with self._changing:
            if self._shown:
                self._terminal.rewrite(text)

    def leave(self) -> None:
        """Take the line away for good: what it says would not come true any more."""
        with self._changing, suppress(OSError):  # the terminal may have gone first
            self.show("")
            self._shown = False
