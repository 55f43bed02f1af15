"""The kernel's out-of-memory killer, which kills with SIGKILL and tells nobody but the kernel's log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_COUNTERS = Path("/proc/vmstat")


def kills() -> int:
    """Count the processes that it has killed since the kernel started, those of a container's own limit included.

    Linux counts them since 4.13; where nobody counts there are none.
    """
    try:
        lines = _COUNTERS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


class OomWatch:
    """Tells whether the killer was at work since it was asked last, or was made."""

    def __init__(self, count: Callable[[], int] = kills) -> None:
        self._count = count
        self._before = count()

    def struck(self) -> bool:
        """Look at the count once more."""
        before, self._before = self._before, self._count()
        return self._before > before
