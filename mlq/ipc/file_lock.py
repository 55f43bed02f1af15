"""A lock on an open file, which the kernel frees when its holder ends, however that ends."""

from __future__ import annotations

import fcntl
from typing import IO


def locked(file: IO[str]) -> bool:
    """Lock it for as long as it is open; False if another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
