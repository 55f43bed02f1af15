"""The protection against standard streams that are closed, or that cannot be written to."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final, TextIO

_STREAMS: Final = (("stdin", "r", os.O_WRONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY))
"""Name, mode, and the flags with which /dev/null is opened in place of a closed stream.

The flags make every read of stdin and every write to stdout fail. Writes to stderr succeed, since there is no other
stream on which an error could be reported.
"""


def occupy_closed() -> None:
    """Open /dev/null in place of each standard stream that is closed.

    Otherwise the next file or socket to be opened would get the descriptor of, say, stdout, and the command would write
    its answer into it. The system assigns the lowest free descriptor, so the streams are checked in their order.
    """
    for number, (name, mode, flags) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def flush() -> OSError | None:
    """Flush stdout and stderr; return the error of stdout, None if there is none or its reader has closed the pipe.

    Text that cannot be written is dropped. Otherwise the interpreter would try again at exit, and print an error of its
    own.
    """
    trouble = _flush(sys.stdout)
    _flush(sys.stderr)
    return None if isinstance(trouble, BrokenPipeError) else trouble


def _flush(stream: TextIO) -> OSError | None:
    try:
        stream.flush()
    except OSError as exc:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            stream.flush()
        return exc
    return None
