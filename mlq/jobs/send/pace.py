"""Pace: how many rows a message should bring, learned from how long the last ones took."""

from __future__ import annotations

from typing import Final

from mlq.jobs.chunk import MOST_ROWS

AIM_S: Final = 0.25
"""In the worker: long enough that messages cost little, short enough that urgent rows and a cancel do not wait."""

_FIRST_ROWS: Final = 16
_FIRST_AHEAD: Final = 8
"""Chunks that are sent before anything is known: they may take long."""

_STEP: Final = 4
_WEIGHT: Final = 0.3


class Pace:
    """Chunk sizes. `fixed` rows, if somebody knows better."""

    def __init__(self, fixed: int | None = None) -> None:
        self._fixed = fixed
        self._row_s: float | None = None
        self.rows = fixed or _FIRST_ROWS

    def ahead(self, limit: int) -> int:
        """How many chunks may be on their way, if `limit` is the most."""
        return limit if self._fixed or self._row_s is not None else min(limit, _FIRST_AHEAD)

    def learn(self, rows: int, seconds: float) -> None:
        """Take in that a chunk of so many rows took so long; the size grows four times at once, at most."""
        if rows < 1:
            return
        seen = seconds / rows
        self._row_s = seen if self._row_s is None else self._row_s + _WEIGHT * (seen - self._row_s)
        if not self._fixed:
            wanted = AIM_S / max(self._row_s, 1e-9)
            self.rows = max(1, min(MOST_ROWS, _STEP * self.rows, int(wanted)))
