"""The terminal: answers go to stdout, talk to stderr; colour and animation only where they are welcome."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

from mlq.errors import UsageError
from mlq.protocol import exact_json
from mlq.terminal.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


_ERASE: Final = "\r\x1b[2K"
"""Back to the line's begin, and nothing left of it."""


class Terminal:
    """Where a command's answer and talk go.

    NO_COLOR, FORCE_COLOR and TERM=dumb are honoured by rich; `colour=False` is --no-color.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        verbosity: int = 0,
        colour: bool = True,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.json = json
        self.verbosity = verbosity
        self._colour = colour
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._bottom = ""
        self._talking = threading.RLock()

    @property
    def animated(self) -> bool:
        """Whether talk may move: a person looks at stderr and did not ask for quiet."""
        return self._stderr.isatty() and os.environ.get("TERM") != "dumb" and self.verbosity >= 0

    @property
    def interactive(self) -> bool:
        """Whether there is a person to answer a question."""
        return sys.stdin.isatty() and self._stderr.isatty()

    def emit(self, document: Mapping[str, Any]) -> None:
        """Write one JSON object on one line of stdout."""
        self._stdout.write(exact_json.dumps(document).decode() + "\n")
        self._stdout.flush()

    def show(self, document: Mapping[str, Any], render: Callable[[], RenderableType]) -> None:
        """Answer with the JSON document under --json, else with what `render` draws."""
        if self.json:
            self.emit(document)
        else:
            self.console(self._stdout).print(render())

    def show_text(self, document: Mapping[str, Any], text: str) -> None:
        """Answer with the JSON document under --json, else with a line of text."""
        if self.json:
            self.emit(document)
        else:
            self.line(text)

    def line(self, text: str) -> None:
        """Answer with a line of plain text."""
        self._stdout.write(text + "\n")
        self._stdout.flush()

    def write(self, data: bytes) -> None:
        """Answer with bytes as they are. Raises UsageError on a terminal, which they could steer."""
        if self._stdout.isatty():
            raise UsageError(what="these bytes are not for a terminal", fix="send them to a file: `> message.json`")
        self._stdout.buffer.write(data)
        self._stdout.flush()

    def say(self, text: str) -> None:
        """Talk, unless --quiet."""
        if self.verbosity >= 0:
            self.warn(text)

    def detail(self, text: str) -> None:
        """Talk that --verbose asks for."""
        if self.verbosity > 0:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Talk that --quiet does not silence. It goes above the bottom line, if there is one."""
        with self._talking:
            try:
                self._stderr.write(f"{_ERASE if self._bottom else ''}{text}\n{self._bottom}")
                self._stderr.flush()
            except BrokenPipeError:
                raise
            except OSError:
                return  # a full disk behind `2> log` ends no command, and there is nowhere to say so

    def rewrite(self, text: str) -> None:
        """Show a line under all talk, in place of the one before; "" takes it away. Only where talk may move."""
        with self._talking:
            if not self.animated or not (text or self._bottom):
                return
            self._bottom = printable(text, self._width - 1)  # a line that wraps could not be erased
            self._stderr.write(_ERASE + self._bottom)
            self._stderr.flush()

    @property
    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stderr.fileno()).columns or 80
        except (OSError, ValueError):  # no terminal after all, as in tests
            return 80

    def fail(self, message: str, hint: str) -> None:
        """Report an error in its two lines."""
        self.warn(f"mlq: {printable(message, limit=2000)}\nhint: {printable(hint, limit=2000)}")

    def console(self, stream: TextIO | None = None) -> Console:
        """Give rich's console over stdout or stderr; what is not a terminal is never wrapped."""
        from rich.console import Console

        file = stream or self._stderr
        width = None if file.isatty() else 1000
        no_colour = not self._colour or None  # None: rich looks at NO_COLOR itself
        return Console(file=file, no_color=no_colour, width=width, highlight=False, markup=False)

    @contextmanager
    def live(self) -> Iterator[Callable[[Mapping[str, Any], Callable[[], RenderableType]], None]]:
        """Give a `show` that redraws in place on a terminal, and repeats itself elsewhere (JSON Lines)."""
        if self.json or not self._stdout.isatty():
            yield self.show
            return
        from rich.live import Live

        with Live(console=self.console(self._stdout), auto_refresh=False) as live:
            yield lambda _, render: live.update(render(), refresh=True)
