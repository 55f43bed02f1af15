"""How many rows fit into memory at once."""

from __future__ import annotations

_CLEAN_FORWARDS = 32


class BatchCap:
    """Halves when memory runs out, grows by half after enough clean forwards of full size.

    Slowly, because what ran out may be another process's memory, and each attempt too many costs a forward.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._clean = 0
        self.rows = limit

    def shrink(self, tried: int) -> None:
        """Remember that `tried` rows did not fit."""
        self.rows = max(1, min(self.rows, tried // 2))
        self._clean = 0

    def fitted(self, tried: int) -> None:
        """Remember that `tried` rows did fit; fewer than the cap prove nothing."""
        if tried < self.rows or self.rows == self._limit:
            return
        self._clean += 1
        if self._clean == _CLEAN_FORWARDS:
            self._clean = 0
            self.rows = min(self._limit, self.rows + max(1, self.rows // 2))
