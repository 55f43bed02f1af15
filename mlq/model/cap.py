"""The batch cap: how many rows fit into the memory of the device at once."""

from __future__ import annotations

_CLEAN_FORWARDS = 32
"""Forwards of full size without an error, after which the cap grows."""


class BatchCap:
    """A cap on rows that is halved when memory runs out, and grows by half after 32 forwards of full size.

    It grows slowly, because another process may use the memory, and each failed attempt costs a forward.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._clean = 0
        self.rows = limit

    def shrink(self, tried: int) -> None:
        """Lower the cap, because `tried` rows did not fit."""
        self.rows = max(1, min(self.rows, tried // 2))
        self._clean = 0

    def fitted(self, tried: int) -> None:
        """Count a forward whose `tried` rows fit; fewer rows than the cap do not count."""
        if tried < self.rows or self.rows == self._limit:
            return
        self._clean += 1
        if self._clean == _CLEAN_FORWARDS:
            self._clean = 0
            self.rows = min(self._limit, self.rows + max(1, self.rows // 2))
