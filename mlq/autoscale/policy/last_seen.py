"""LastSeen: the counters of each worker when it was last seen. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_GONE_AFTER_S: Final = 600.0
"""Seconds after which a worker that was not seen is forgotten. A restarted worker has a new id in any case."""


class LastSeen(Generic[T]):
    """A value for each worker. Workers that are gone are forgotten, because an autoscaler runs for months."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, T]] = {}
        self._is_empty = True

    @property
    def is_empty(self) -> bool:
        """Whether no worker was ever seen."""
        return self._is_empty

    def __contains__(self, worker_id: str) -> bool:
        return worker_id in self._seen

    def get(self, worker_id: str, default: T) -> T:
        """Return the value of a worker."""
        return self._seen[worker_id][1] if worker_id in self._seen else default

    def keep(self, at: float, counted: Mapping[str, T]) -> None:
        """Store the values of the workers that were seen at `at` (s)."""
        self._is_empty = self._is_empty and not counted
        kept = {wid: entry for wid, entry in self._seen.items() if at - entry[0] <= _GONE_AFTER_S}
        self._seen = {**kept, **{wid: (at, value) for wid, value in counted.items()}}
