"""Scheduling: from which queue to claim next, which queues interrupt running rows, and how device time is counted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from mlq.engine.activity import Activity
from mlq.engine.micro_batches import ModelRequest
from mlq.protocol.priorities import queue_of

_MEMORY_S: Final = 10.0
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
        fade = math.exp(-seconds / _MEMORY_S)
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


_LOOK_EVERY_S: Final = 0.005
"""Seconds between two looks for more urgent messages during a long one."""


class Urgency:
    """The queues that may interrupt running rows, and when they were looked at last."""

    def __init__(self, queues: Sequence[str], shares: Shares, clock: Callable[[], float] = time.monotonic) -> None:
        self._queues = tuple(queues)
        self._shares = shares
        self._clock = clock
        self._looked_at = 0.0

    def before(self, queues: Iterable[str]) -> tuple[str, ...]:
        """Return the queues that are more urgent than the least urgent of these; none if there are none."""
        return self._queues[: max((self._queues.index(q) for q in queues), default=0)]

    def is_due(self, more_urgent: Collection[str]) -> bool:
        """Return whether to look at these queues now; if so, count this as a look."""
        now = self._clock()
        if not more_urgent or now - self._looked_at < _LOOK_EVERY_S:
            return False
        if any(self._shares.is_owed(q) for q in self._queues if q not in more_urgent):
            return False  # a less urgent queue is owed its share, so it is not interrupted
        self._looked_at = now
        return True


_QUICK_S: Final = 0.25
"""If turns take longer than these seconds, no batch is staged ahead: an idle worker could run it sooner."""


class TurnStats:
    """Statistics of turns: counts device time of each forward for its queue, and the rows of each turn."""

    def __init__(self, shares: Shares, activity: Activity, max_batch_size: int) -> None:
        self._turn_s = 0.0
        self._shares = shares
        self._activity = activity
        self._max_batch_size = max_batch_size
        self._rows = 0

    @property
    def turns_are_quick(self) -> bool:
        """True if recent turns were short (exponentially weighted mean below 250 ms), so a batch may be prefetched."""
        return self._turn_s < _QUICK_S

    def spent(self, message: ModelRequest, seconds: float) -> None:
        """Add the time of a forward to its queue, at once: a turn may last as long as more urgent rows keep coming."""
        self._shares.used(queue_of(message.message.claim.queue_key), seconds)

    def count_rows(self, rows: int) -> None:
        """Count rows of this turn."""
        self._rows += rows

    def book(self, seconds: float) -> None:
        """Count a turn that has ended, with its seconds and its rows."""
        rows, self._rows = self._rows, 0
        self._turn_s = 0.5 * (self._turn_s + seconds)
        self._activity.count_rows(rows)
        if 0 < rows <= self._max_batch_size:
            self._activity.count_forward(rows, seconds)
