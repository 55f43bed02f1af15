"""Shares: a queue's guaranteed fraction of device time, where strict order would starve it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

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
