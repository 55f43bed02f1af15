"""Standard streams that are closed or full: a command says so, and writes into no other file instead."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final, TextIO

_STREAMS: Final = (("stdin", "r", os.O_WRONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY))
"""Name, mode, and how /dev/null is opened in its place: to read from it, or write to it, is to fail.

Only stderr is different: without it there is nowhere to complain.
"""


def occupy_closed() -> None:
    """Put something in the place of each standard stream that is closed.

    Otherwise the next file or socket that is opened would get its number, and be written to as standard output. The
    lowest free number is given out first, so the streams are looked at in their order.
    """
    for number, (name, mode, flags) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def flush() -> OSError | None:
    """Write out what is left for stdout and stderr; return why stdout does not take it.

    What cannot be written is dropped: the interpreter would try again on its way out, and complain in its own words.
    """
    trouble = _flushed(sys.stdout)
    _flushed(sys.stderr)
    return None if isinstance(trouble, BrokenPipeError) else trouble


def _flushed(stream: TextIO) -> OSError | None:
    try:
        stream.flush()
    except OSError as exc:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            stream.flush()
        return exc
    return None
