"""Observation: what an autoscaler sees of a queue and its workers at one moment. Unknown is None, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["starting", "idle", "busy", "draining", "gone"]


@dataclass(frozen=True)
class WorkerSample:
    """One incarnation of a worker that serves the queue, with counters that begin at 0 with it.

    `done` are tasks of this queue, `all_done` of every queue, `busy_s` the seconds that all of them took. `running_s`
    is how long the present task has run. `forwards` are board.Report's running sums, `max_batch_size` the rows of a
    full one, None where unknown. `ready_s` is what its start took, None while it starts; `age_s` its age. `mine`:
    started by an autoscaler, which may drain it.
    """

    id: str
    state: State
    done: int
    all_done: int
    busy_s: float
    age_s: float
    running_s: float = 0.0
    rows_done: int = 0
    forwards: Sequence[float] = (0.0,) * 6
    max_batch_size: int | None = None
    ready_s: float | None = None
    idle_s: float = 0.0
    mine: bool = True

    @property
    def takes_work(self) -> bool:
        """Whether it is there and not about to leave."""
        return self.state in {"idle", "busy"}


@dataclass(frozen=True)
class Observation:
    """`at` is a monotonic clock's (s). `ready` and `in_flight` count tasks; None where the broker could not be asked.

    `oldest_s` is how long the oldest has waited, None where unknown or nothing waits.
    """

    at: float
    ready: int | None
    in_flight: int | None
    workers: Sequence[WorkerSample]
    oldest_s: float | None = None
