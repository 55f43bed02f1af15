"""Leaves the ends of workers' logs in the registry, for operators on other hosts."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mlq.store.workers import log_tails

if TYPE_CHECKING:
    from redis import Redis


class LastLines:
    """Writes what `read` gives (each worker's last lines), where it is new. Called with every round of heartbeats."""

    def __init__(self, read: Callable[[], Mapping[str, Sequence[str]]]) -> None:
        self._read = read
        self._written: dict[str, Sequence[str]] = {}

    def __call__(self, store: Redis) -> None:
        """Write; nothing while memory is full, which is when lines are what one can do without."""
        from redis.exceptions import OutOfMemoryError

        for name, lines in self._read().items():
            if lines == self._written.get(name):
                continue
            try:
                log_tails.write(store, socket.gethostname(), name, lines)
            except OutOfMemoryError:
                return
            self._written[name] = lines
