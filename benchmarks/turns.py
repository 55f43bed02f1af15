"""Whose turn it is: contenders alternate within a round, and each round begins with another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def turns(contenders: Sequence[str], rounds: int) -> Iterator[str]:
    """Give the names in the order of measurement: noise, and what a predecessor left behind, meet all alike."""
    for first in range(rounds):
        for i in range(len(contenders)):
            yield contenders[(first + i) % len(contenders)]
