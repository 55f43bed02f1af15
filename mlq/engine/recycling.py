"""Recycling: a worker ends and is replaced after max_tasks tasks, or above max_memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_LOOK_EVERY_S: Final = 1.0
"""Seconds between two looks at the memory."""


class Recycling:
    """Decides after a turn if it was the last one: after `max_tasks` tasks, or above `max_memory` resident bytes."""

    def __init__(
        self,
        max_tasks: int | None,
        max_memory: int | None,
        resident: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_tasks = max_tasks
        self._max_memory = max_memory
        self._resident = resident
        self._clock = clock
        self._looked_at = clock()

    def reason(self, tasks_done: int) -> str | None:
        """Return the reason to end, or None."""
        if self._max_tasks is not None and tasks_done >= self._max_tasks:
            return f"{tasks_done} tasks done, of {self._max_tasks}"
        if self._max_memory is None or self._clock() - self._looked_at < _LOOK_EVERY_S:
            return None
        self._looked_at = self._clock()
        used = self._resident()
        return f"{used} bytes in memory, of {self._max_memory}" if used > self._max_memory else None
