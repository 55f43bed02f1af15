"""Observation: a queue and its workers at one moment, as an autoscaler sees them. Unknown values are None, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["starting", "idle", "busy", "draining", "gone"]


@dataclass(frozen=True)
class WorkerSample:
    """One process of a worker that serves the queue. All counters began at 0 with the process."""

    id: str
    state: State
    #: Tasks of this queue that it has done.
    done: int
    #: Tasks of all queues that it has done.
    all_done: int
    #: Seconds that all these tasks took.
    busy_s: float
    #: Seconds since its start.
    age_s: float
    #: Seconds that its present task has run.
    running_s: float = 0.0
    rows_done: int = 0
    #: Running sums over forwards, as in WorkerReport.
    forwards: Sequence[float] = (0.0,) * 6
    #: Rows that its model takes in one forward; None where unknown.
    max_batch_size: int | None = None
    #: Seconds that its start took; None while it starts.
    ready_s: float | None = None
    #: Seconds since its last task.
    idle_s: float = 0.0
    #: An autoscaler started it, and may drain it.
    mine: bool = True

    @property
    def takes_work(self) -> bool:
        """Whether it is ready and not about to end."""
        return self.state in {"idle", "busy"}


@dataclass(frozen=True)
class Observation:
    """A queue and its workers at one moment."""

    #: Seconds, monotonic.
    at: float
    #: Waiting tasks; None if the broker could not be asked.
    ready: int | None
    #: Running tasks; None if the broker could not be asked.
    in_flight: int | None
    workers: Sequence[WorkerSample]
    #: Seconds that the oldest task has waited; None if unknown, or if none waits.
    oldest_s: float | None = None
