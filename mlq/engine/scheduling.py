"""Scheduling: which queue is claimed from next, which queues go before running rows, and how their time is counted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from mlq.engine.activity import Activity
from mlq.engine.batchable import ModelRequest
from mlq.protocol.priorities import queue_of

_MEMORY_S: Final = 10.0
"""Device time fades from memory with this time constant: a share is kept over tens of seconds, not since start."""


class Shares:
    """Chooses the order in which queues are claimed from.

    `queues` is the usual order, `shares` the fraction of device time that a queue gets at least while it has work.
    """

    def __init__(self, queues: Sequence[str], shares: Mapping[str, float]) -> None:
        self._queues = tuple(queues)
        self._shares = {q: s for q, s in shares.items() if q in self._queues}
        self._used = dict.fromkeys(self._queues, 0.0)

    def used(self, queue: str, seconds: float) -> None:
        """Add device time that messages of a queue took."""
        if not self._shares:  # then nobody is ever owed anything
            return
        fade = math.exp(-seconds / _MEMORY_S)
        self._used = {q: s * fade for q, s in self._used.items()}
        self._used[queue] += seconds

    def is_owed(self, queue: str) -> bool:
        """Whether a queue has had less than its share."""
        total = sum(self._used.values())
        return queue in self._shares and self._used[queue] < self._shares[queue] * total

    def order(self) -> tuple[str, ...]:
        """Put what is owed its share first; everything else as usual."""
        owed = tuple(q for q in self._queues if self.is_owed(q))
        return owed + tuple(q for q in self._queues if q not in owed)


_LOOK_EVERY_S: Final = 0.005
"""How often, at most, a long message stops to look for more urgent ones."""


class Urgency:
    """Knows the order of the queues, and when somebody looked last."""

    def __init__(self, queues: Sequence[str], shares: Shares, clock: Callable[[], float] = time.monotonic) -> None:
        self._queues = tuple(queues)
        self._shares = shares
        self._clock = clock
        self._looked_at = 0.0

    def before(self, queues: Iterable[str]) -> tuple[str, ...]:
        """Name the queues that go before the least urgent of these; none before nothing."""
        return self._queues[: max((self._queues.index(q) for q in queues), default=0)]

    def is_due(self, more_urgent: Collection[str]) -> bool:
        """Whether to look at these queues now. If so, the next time is a while away."""
        now = self._clock()
        if not more_urgent or now - self._looked_at < _LOOK_EVERY_S:
            return False
        if any(self._shares.is_owed(q) for q in self._queues if q not in more_urgent):
            return False  # it is the less urgent ones' turn: that is what a share is
        self._looked_at = now
        return True


_QUICK_S: Final = 0.25
"""While a turn takes longer, none is staged behind it: an idle worker would answer it sooner."""


class TurnStats:
    """Books each forward on its queues' shares at once, and each turn once it is over."""

    def __init__(self, shares: Shares, activity: Activity, max_batch_size: int) -> None:
        self._turn_s = 0.0
        self._shares = shares
        self._activity = activity
        self._max_batch_size = max_batch_size
        self._rows = 0

    @property
    def turns_are_quick(self) -> bool:
        """Whether the last ones were, the later the more: then the next batch may wait here."""
        return self._turn_s < _QUICK_S

    def spent(self, message: ModelRequest, seconds: float) -> None:
        """Book a forward's time on a queue. Not later: a turn lasts for as long as more urgent rows keep coming."""
        self._shares.used(queue_of(message.message.claim.queue_key), seconds)

    def count_rows(self, rows: int) -> None:
        """Add rows of this turn."""
        self._rows += rows

    def book(self, seconds: float) -> None:
        """Book a turn's time and its rows."""
        rows, self._rows = self._rows, 0
        self._turn_s = 0.5 * (self._turn_s + seconds)
        self._activity.count_rows(rows)
        if 0 < rows <= self._max_batch_size:
            self._activity.count_forward(rows, seconds)
