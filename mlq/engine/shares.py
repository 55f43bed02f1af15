"""Shares: from which queue the worker claims next, and which queues may interrupt running rows.

`--share batch=0.1` reserves a part of the device time for a queue that is not urgent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

_FADE_S: Final = 10.0
"""Time constant with which used device time is forgotten: shares hold over tens of seconds, not since the start."""


class Shares:
    """Chooses the order in which queues are claimed from.

    Args:
        queues: The queues in their usual order.
        shares: The smallest fraction of device time that a queue gets while it has work.
    """

    def __init__(self, queues: Sequence[str], shares: Mapping[str, float]) -> None:
        self._queues = tuple(queues)
        self._shares = {q: s for q, s in shares.items() if q in self._queues}
        self._used = dict.fromkeys(self._queues, 0.0)

    def used(self, queue: str, seconds: float) -> None:
        """Add device time that messages of a queue used."""
        if not self._shares:  # then no queue is ever owed time
            return
        fade = math.exp(-seconds / _FADE_S)
        self._used = {q: s * fade for q, s in self._used.items()}
        self._used[queue] += seconds

    def is_owed(self, queue: str) -> bool:
        """Whether a queue has had less than its share."""
        total = sum(self._used.values())
        return queue in self._shares and self._used[queue] < self._shares[queue] * total

    def order(self) -> tuple[str, ...]:
        """Return the queues that are owed their share, then the others in their usual order."""
        owed = tuple(q for q in self._queues if self.is_owed(q))
        return owed + tuple(q for q in self._queues if q not in owed)


_URGENT_EVERY_S: Final = 0.005
"""Seconds between two looks for more urgent messages during a long one."""


class Urgency:
    """The queues that may interrupt running rows, and when they were looked at last."""

    def __init__(self, queues: Sequence[str], shares: Shares, clock: Callable[[], float] = time.monotonic) -> None:
        self._queues = tuple(queues)
        self._shares = shares
        self._clock = clock
        self._looked_at = 0.0

    def more_urgent_than(self, queues: Iterable[str]) -> tuple[str, ...]:
        """Return the queues that are more urgent than the least urgent of these; none if there are none."""
        return self._queues[: max((self._queues.index(q) for q in queues), default=0)]

    def is_due(self, more_urgent: Collection[str]) -> bool:
        """Return whether to look at these queues now; if so, count this as a look."""
        now = self._clock()
        if not more_urgent or now - self._looked_at < _URGENT_EVERY_S:
            return False
        if any(self._shares.is_owed(q) for q in self._queues if q not in more_urgent):
            return False  # a less urgent queue is owed its share, so it is not interrupted
        self._looked_at = now
        return True
