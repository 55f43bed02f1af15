"""Accounting: what a turn's time was spent on, for the queues' shares, the autoscaler and the next turn."""

from __future__ import annotations

from typing import Final

from mlq.engine.activity import Activity
from mlq.engine.batchable import Rows
from mlq.engine.shares import Shares
from mlq.protocol.priorities import queue_of

_QUICK_S: Final = 0.25
"""While a turn takes longer, none is staged behind it: an idle worker would answer it sooner."""


class Accounting:
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

    def spent(self, message: Rows, seconds: float) -> None:
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
