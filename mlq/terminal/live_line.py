"""The live line: a line at the bottom of a terminal that is rewritten in place, below everything that is printed."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from types import TracebackType

from mlq.terminal.printable import printable
from mlq.terminal.terminal import Terminal


class LiveLine(logging.Handler):
    """Shows a line until `leave`. Warnings that this process logs in the meantime are printed above the line."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._terminal = terminal
        self._shown = terminal.animated and not terminal.json
        self._changing = threading.RLock()

    def __enter__(self) -> None:
        # Without a handler, Python would write logged warnings to stderr in the middle of the line.
        if self._shown:
            logging.getLogger().addHandler(self)

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.leave()
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Print a log record above the line."""
        self._terminal.warn(printable(record.getMessage(), limit=4000))

    def show(self, text: str) -> None:
        """Replace the text of the line, if stderr is a terminal."""
        with self._changing:
            if self._shown:
                self._terminal.rewrite(text)

    def leave(self) -> None:
        """Remove the line; `show` has no effect after that."""
        with self._changing, suppress(OSError):  # the terminal may be closed already
            self.show("")
            self._shown = False
