"""The amount of work of a run: a smoke run, the usual one, and the long one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Scale:
    """The sizes of all measurements. Fast contenders get more messages than slow ones: figures are per message."""

    rounds: int
    messages: Mapping[str, int]
    """Messages in the backlog of one round, by contender."""
    window_s: float
    """Seconds of the measurement of a device with a backlog."""
    pictures: int
    """Rows of 150 KB in the backlog of one round."""
    asks: int
    """Rows that are sent one by one in each round; half as many if each waits for a forward."""
    small_rows: Mapping[str, int]
    large_rows: int
    """Rows in a file for the large model."""
    waiting_messages: int
    """Messages that are sent one by one to waiting light workers."""
    resident: tuple[int, int]
    """Messages before the first reading of the memory, and before the second."""


QUICK: Final = Scale(
    rounds=1,
    messages={"mlq": 2_000, "plain": 300, "plain, prefork spawned": 300, "rq": 100, "dramatiq": 100},
    window_s=0.5,
    pictures=40,
    asks=20,
    small_rows={"mlq": 10_000, "plain": 5_000, "bare loop": 10_000},
    large_rows=256,
    waiting_messages=50,
    resident=(100, 500),
)
USUAL: Final = Scale(
    rounds=5,
    messages={"mlq": 10_000, "plain": 1_500, "plain, prefork spawned": 1_500, "rq": 600, "dramatiq": 1_000},
    window_s=3.0,
    pictures=500,
    asks=200,
    small_rows={"mlq": 200_000, "plain": 40_000, "bare loop": 200_000},
    large_rows=16_384,
    waiting_messages=300,
    resident=(10_000, 100_000),
)
FULL: Final = Scale(**{**vars(USUAL), "resident": (100_000, 1_000_000)})
