"""The terminal of a command: answers on stdout, notices and errors on stderr, colors and animation where possible."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

from mlq.errors import UsageError, two_lines
from mlq.protocol import json_text
from mlq.terminal.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


_ERASE: Final = "\r\x1b[2K"
"""Moves the cursor to the beginning of the line, and erases the line."""


class Terminal:
    """Writes the answers of a command to stdout, and its notices, warnings and errors to stderr.

    Rich honors NO_COLOR, FORCE_COLOR and TERM=dumb; `color=False` is --no-color.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        verbosity: int = 0,
        color: bool = True,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.json = json
        self.verbosity = verbosity
        self._color = color
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._bottom = ""
        self._talking = threading.RLock()

    @property
    def animated(self) -> bool:
        """Whether stderr may be animated: it is a terminal, and --quiet was not given."""
        return self._stderr.isatty() and os.environ.get("TERM") != "dumb" and self.verbosity >= 0

    @property
    def interactive(self) -> bool:
        """Whether the user can answer a question."""
        return sys.stdin.isatty() and self._stderr.isatty()

    def emit(self, document: Mapping[str, Any]) -> None:
        """Write one JSON object on one line of stdout."""
        self._stdout.write(json_text.dumps(document).decode() + "\n")
        self._stdout.flush()

    def show(self, document: Mapping[str, Any], render: Callable[[], RenderableType]) -> None:
        """Print the JSON document with --json, otherwise what `render` draws."""
        if self.json:
            self.emit(document)
        else:
            self.console(self._stdout).print(render())

    def show_text(self, document: Mapping[str, Any], text: str) -> None:
        """Print the JSON document with --json, otherwise a line of text."""
        if self.json:
            self.emit(document)
        else:
            self.line(text)

    def line(self, text: str) -> None:
        """Print a line of an answer."""
        self._stdout.write(text + "\n")
        self._stdout.flush()

    def write(self, data: bytes) -> None:
        """Write bytes unchanged to stdout. Raises UsageError if stdout is a terminal, which the bytes could control."""
        if self._stdout.isatty():
            raise UsageError(
                what="raw bytes are not written to a terminal", fix="write them to a file: `> message.json`"
            )
        self._stdout.buffer.write(data)
        self._stdout.flush()

    def say(self, text: str) -> None:
        """Print a notice on stderr, unless --quiet is given."""
        if self.verbosity >= 0:
            self.warn(text)

    def detail(self, text: str) -> None:
        """Print a notice on stderr if --verbose is given."""
        if self.verbosity > 0:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Print a warning or an error on stderr, even with --quiet, above the live line."""
        with self._talking:
            try:
                self._stderr.write(f"{_ERASE if self._bottom else ''}{text}\n{self._bottom}")
                self._stderr.flush()
            except BrokenPipeError:
                raise
            except OSError:
                return  # stderr may be a file on a full disk: the command continues, and cannot report the error

    def rewrite(self, text: str) -> None:
        """Replace the live line; "" removes it. Has no effect unless stderr may be animated."""
        with self._talking:
            if not self.animated or not (text or self._bottom):
                return
            self._bottom = printable(text, self._width - 1)  # a line that wraps cannot be erased
            self._stderr.write(_ERASE + self._bottom)
            self._stderr.flush()

    @property
    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stderr.fileno()).columns or 80
        except (OSError, ValueError):  # stderr has no descriptor, or is not a terminal
            return 80

    def fail(self, message: str, hint: str) -> None:
        """Print an error and its hint, each on a line of stderr."""
        self.warn(two_lines(printable(message, limit=2000), printable(hint, limit=2000)))

    def console(self, stream: TextIO | None = None) -> Console:
        """Make Rich's console for stdout or stderr; output to anything but a terminal is never wrapped."""
        from rich.console import Console

        file = stream or self._stderr
        width = None if file.isatty() else 1000
        no_color = not self._color or None  # with None, Rich reads NO_COLOR
        return Console(file=file, no_color=no_color, width=width, highlight=False, markup=False)

    @contextmanager
    def live(self) -> Iterator[Callable[[Mapping[str, Any], Callable[[], RenderableType]], None]]:
        """Yield a `show` that redraws its output in place on a terminal, and prints it again elsewhere."""
        if self.json or not self._stdout.isatty():
            yield self.show
            return
        from rich.live import Live

        with Live(console=self.console(self._stdout), auto_refresh=False) as live:
            yield lambda _, render: live.update(render(), refresh=True)
