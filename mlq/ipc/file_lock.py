"""A lock on an open file. The kernel releases it when its holder ends, in any way."""

from __future__ import annotations

import fcntl
from typing import IO


def locked(file: IO[str]) -> bool:
    """Lock a file until it is closed; return False if another process has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
