"""Urgency: which queues go before what runs, and when a long message stops to look at them. Pure, but for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from mlq.engine.shares import Shares

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
