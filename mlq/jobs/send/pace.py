"""Pace: the number of rows per message, learned from the duration of the latest chunks."""

from __future__ import annotations

from typing import Final

from mlq.jobs.chunk import MOST_ROWS

AIM_S: Final = 0.25
"""Seconds per chunk to aim at: long enough for little overhead, short enough for urgent rows and a cancel."""

_FIRST_ROWS: Final = 16
_FIRST_AHEAD: Final = 8
"""Chunks that are sent before the first result shows how long one takes."""

_STEP: Final = 4
_WEIGHT: Final = 0.3


class Pace:
    """Chunk sizes. `fixed` rows, if somebody knows better."""

    def __init__(self, fixed: int | None = None) -> None:
        self._fixed = fixed
        self._row_s: float | None = None
        self.rows = fixed or _FIRST_ROWS

    def ahead(self, limit: int) -> int:
        """Return the number of chunks that may be sent but not collected, up to `limit`."""
        return limit if self._fixed or self._row_s is not None else min(limit, _FIRST_AHEAD)

    def learn(self, rows: int, seconds: float) -> None:
        """Adjust the size after a chunk with its rows and seconds; it grows at most fourfold at once."""
        if rows < 1:
            return
        seen = seconds / rows
        self._row_s = seen if self._row_s is None else self._row_s + _WEIGHT * (seen - self._row_s)
        if not self._fixed:
            wanted = AIM_S / max(self._row_s, 1e-9)
            self.rows = max(1, min(MOST_ROWS, _STEP * self.rows, int(wanted)))
