"""The order of the contenders: they alternate within a round, and each round begins with another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def turns(contenders: Sequence[str], rounds: int) -> Iterator[str]:
    """Return the names in the order of measurement, so that noise and predecessors affect all alike."""
    for first in range(rounds):
        for i in range(len(contenders)):
            yield contenders[(first + i) % len(contenders)]
