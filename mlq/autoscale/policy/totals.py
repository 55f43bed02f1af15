"""Totals: running totals, and their increase over a window of time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence


class Totals:
    """`width` totals that only grow, with their history over the last `kept_s` seconds."""

    def __init__(self, width: int, kept_s: float) -> None:
        self._kept_s = kept_s
        self._at: list[float] = []
        self._totals: list[tuple[float, ...]] = []
        self._now = (0.0,) * width

    def add(self, at: float, more: Sequence[float]) -> None:
        """Add to each total. Negative values, as after a purge or a new count, are ignored."""
        self._now = tuple(total + max(0.0, m) for total, m in zip(self._now, more, strict=True))
        self._at.append(at)
        self._totals.append(self._now)
        while len(self._at) > 2 and self._at[1] <= at - self._kept_s:  # noqa: PLR2004 (one beyond the window)
            del self._at[0], self._totals[0]

    def clear(self) -> None:
        """Drop the history; the totals stay."""
        self._at, self._totals = [], []

    def over(self, seconds: float) -> tuple[float, tuple[float, ...]]:
        """Return the actual length of the window, and the increase of each total in it."""
        if len(self._at) < 2:  # noqa: PLR2004 (a difference needs two)
            return 0.0, (0.0,) * len(self._now)
        first = max(0, bisect_right(self._at, self._at[-1] - seconds + 1e-9) - 1)
        added = tuple(b - a for a, b in zip(self._totals[first], self._totals[-1], strict=True))
        return self._at[-1] - self._at[first], added

    def over_at_least(self, seconds: float, number: float, which: int = 0) -> tuple[float, tuple[float, ...]]:
        """Return what `over` does, with a window long enough that total `which` increased by `number`, if possible."""
        span, added = self.over(seconds)
        while added[which] < number and self._at and span < self._at[-1] - self._at[0] - 1e-9:
            span, added = self.over(2 * max(span, 1.0))
        return span, added
