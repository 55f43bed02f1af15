"""A lock on an open file. The kernel releases it when its holder ends, in any way."""

from __future__ import annotations

import fcntl
from typing import IO, Any


def try_lock(file: IO[Any], *, shared: bool = False) -> bool:
    """Lock a file until it is closed; return False at once if another process has locked it.

    Args:
        file: The open file.
        shared: Allow other shared locks. Without it, no other lock is possible.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
