"""Accounting: what a turn's time was spent on, for the queues' shares, the autoscaler and the next turn."""

from __future__ import annotations

from collections import Counter
from typing import Final

from mlq.consumer.activity import Activity
from mlq.consumer.shares import Shares

_QUICK_S: Final = 0.25
"""While a turn takes longer, none is staged behind it: an idle worker would answer it sooner."""


class Accounting:
    """Books each turn once it is over."""

    def __init__(self, shares: Shares, activity: Activity, max_batch_size: int) -> None:
        self._turn_s = 0.0
        self._shares = shares
        self._activity = activity
        self._max_batch_size = max_batch_size
        self._rows: Counter[str] = Counter()

    @property
    def turns_are_quick(self) -> bool:
        """Whether the last ones were, the later the more: then the next batch may wait here."""
        return self._turn_s < _QUICK_S

    def count_rows(self, queue: str, rows: int) -> None:
        """Add rows of this turn that came from a queue."""
        self._rows[queue] += rows

    def book(self, seconds: float) -> None:
        """Book a turn's time on the queues whose rows it computed."""
        rows, self._rows = self._rows, Counter()
        total = sum(rows.values())
        for queue, count in rows.items():
            self._shares.used(queue, seconds * count / max(1, total))
        self._turn_s = 0.5 * (self._turn_s + seconds)
        self._activity.count_rows(total)
        if 0 < total <= self._max_batch_size:
            self._activity.count_forward(total, seconds)
