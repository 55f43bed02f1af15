"""Board: the page on which a worker writes what it is doing, at every turn, for its supervisor to read.

It can be read while the worker holds the GIL, is frozen, or has just died.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypeVar

import orjson

from mlq.ipc.shared_page import Page

T = TypeVar("T")

VARIABLE: Final = "MLQ_BOARD_FD"
"""Names the page's descriptor in the worker's environment."""

_SIZE: Final = 4 * 1024 * 1024
"""Enough for a batch of ten thousand messages; what is never written to takes no memory."""


@dataclass(frozen=True)
class RunningTask:
    """A task that a worker runs: by itself, or as one of a batch.

    One that `is_acked` was acknowledged before it ran: what is known of it here is all that is left. `place` is where
    the end of a job's task belongs, as in its header.
    """

    id: str
    name: str
    queue: str
    began_at: float
    is_acked: bool = False
    place: list[Any] | None = None


@dataclass
class WorkerReport:
    """What a worker says of itself.

    `since` is when `state` began (seconds since 1970), `max_batch_size` the rows that its model takes at once, None
    while there is no model, `running` the tasks of the batch that begins with `task`. `totals` are the tasks ended by
    name, `done` those by queue, `busy_s` the seconds of all tasks and batches so far. `forwards` are running sums over
    the turns of one forward each: how many, Σ rows, Σ seconds, Σ rows², Σ rows·seconds, Σ seconds²; differences of two
    reports fit the time that a batch takes. `leased` tells that its lease is there to be renewed, `looked_at` when it
    last asked for work (seconds, monotonic). While a hard time limit of `limit_s` runs, `deadline` is when it ends
    (monotonic), and `under` names the claims. `version` is the version of mlq whose code the worker runs, None for a
    version that does not say so. `rate_limits` are those in force, by task, as they were given.
    """

    state: str = "starting"
    since: float = 0.0
    fingerprint: str | None = None
    max_batch_size: int | None = None
    task: str | None = None
    running: list[RunningTask] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    tasks_done: int = 0
    rows_done: int = 0
    busy_s: float = 0.0
    done: dict[str, int] = field(default_factory=dict)
    forwards: list[float] = field(default_factory=lambda: [0.0] * 6)
    leased: bool = False
    looked_at: float = 0.0
    deadline: float | None = None
    limit_s: float = 0.0
    under: list[str] = field(default_factory=list)
    version: str | None = None
    rate_limits: dict[str, str] = field(default_factory=dict)
    #: Whether that limit came with the message.
    limit_by_message: bool = False
    #: The exit code with which the worker is about to end; None while it serves.
    exit_code: int | None = None
    #: When it will have ended at the latest (seconds, monotonic).
    leave_by: float = 0.0

    @property
    def has_announced(self) -> bool:
        """Whether its exit code is the worker's own word; one of a version that announces none is believed."""
        return self.exit_code is not None or self.version is None


def known(kind: Callable[..., T], told: Mapping[str, Any]) -> T:
    """Make a dataclass of the fields that it knows.

    A process of a newer version may have written the record: the next worker of a supervisor under which mlq was
    upgraded, or a client on another host.
    """
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]  # a dataclass is a callable, too
    return kind(**{name: value for name, value in told.items() if name in names})


class ReportPage:
    """The page of one worker."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @classmethod
    def create(cls) -> ReportPage:
        """Make an empty one, whose descriptor a child can inherit."""
        return cls(Page.create("mlq-board", _SIZE))

    @classmethod
    def inherited(cls) -> ReportPage | None:
        """Open the one that a supervisor has handed down; None for a worker without one."""
        fd = os.environ.get(VARIABLE)
        return cls(Page.inherited(int(fd))) if fd is not None else None

    def write(self, report: WorkerReport) -> None:
        """Replace what is on the page. Of a batch that does not fit only the first task is told."""
        content = orjson.dumps(report)
        if len(content) > self.page.room:
            content = orjson.dumps(replace(report, running=report.running[:1], under=[]))
        self.page.write(content)

    def read(self) -> WorkerReport | None:
        """Read what was written last; None before the first time."""
        text = self.page.read()
        if text is None:
            return None
        report = known(WorkerReport, orjson.loads(text))
        report.running = [known(RunningTask, r) for r in report.running]  # type: ignore[arg-type]  # tables, as JSON has them
        return report

    def close(self) -> None:
        """Let go of the page."""
        self.page.close()
