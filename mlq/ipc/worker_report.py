"""The worker report: a page on which a worker writes what it is doing, at every turn, for its supervisor.

The supervisor can read it while the worker holds the GIL, is stopped, or has just died.
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
"""Environment variable of a worker: the page's descriptor."""

_SIZE: Final = 4 * 1024 * 1024
"""Bytes of the page: enough for a batch of ten thousand messages. Parts that are never written take no memory."""


@dataclass(frozen=True)
class RunningTask:
    """A task that a worker runs, alone or in a batch."""

    id: str
    name: str
    queue: str
    #: Seconds since 1970.
    began_at: float
    #: It was acknowledged before it ran, so no claim is left: this entry is all that is known about it.
    is_acked: bool = False
    #: The header that says where the result of a job's task belongs.
    place: list[Any] | None = None


@dataclass
class WorkerReport:
    """The state and the counters of a worker, as it reports them."""

    state: str = "starting"
    #: When `state` began (seconds since 1970).
    since: float = 0.0
    #: Fingerprint of the model file.
    fingerprint: str | None = None
    #: Rows that the model takes in one forward; None without a model.
    max_batch_size: int | None = None
    #: Id of the first running task.
    task: str | None = None
    #: All running tasks: one, or those of a batch.
    running: list[RunningTask] = field(default_factory=list)
    #: Tasks ended so far, by name.
    totals: dict[str, int] = field(default_factory=dict)
    tasks_done: int = 0
    rows_done: int = 0
    #: Seconds of all tasks and batches so far.
    busy_s: float = 0.0
    #: Tasks ended so far, by queue.
    done: dict[str, int] = field(default_factory=dict)
    #: Running sums over the turns with one forward: number, Σ rows, Σ seconds, Σ rows², Σ rows·seconds, Σ seconds².
    #: The autoscaler fits the duration of a batch to the differences between two reports.
    forwards: list[float] = field(default_factory=lambda: [0.0] * 6)
    #: The worker has a lease, which the supervisor has to renew.
    leased: bool = False
    #: When the worker last looked for work (seconds, monotonic).
    looked_at: float = 0.0
    #: When the hard time limit of the running claims passes (seconds, monotonic); None without one.
    deadline: float | None = None
    #: The hard time limit in seconds.
    limit_s: float = 0.0
    #: The claims to which the limit applies.
    under: list[str] = field(default_factory=list)
    #: Version of mlq whose code the worker runs; None for a version that does not report it.
    version: str | None = None
    #: Rate limits in force, by task, as they were given.
    rate_limits: dict[str, str] = field(default_factory=dict)
    #: The hard time limit came with the message.
    limit_by_message: bool = False
    #: The exit code with which the worker is about to end; None while it serves.
    exit_code: int | None = None
    #: The latest time at which it will have ended (seconds, monotonic).
    leave_by: float = 0.0

    @property
    def has_announced(self) -> bool:
        """Whether the worker announced its exit code. Old versions announce none; their exit codes are believed."""
        return self.exit_code is not None or self.version is None


def known(kind: Callable[..., T], record: Mapping[str, Any]) -> T:
    """Make an instance of a dataclass from a record, and ignore fields that the dataclass does not have.

    A newer version of mlq may have written the record: a worker that was started after an upgrade of mlq, or a client
    on another host.
    """
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]  # a dataclass is a callable, too
    return kind(**{name: value for name, value in record.items() if name in names})


class ReportPage:
    """The page of one worker."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @classmethod
    def create(cls) -> ReportPage:
        """Make an empty page; a child process can inherit its descriptor."""
        return cls(Page.create("mlq-board", _SIZE))

    @classmethod
    def inherited(cls) -> ReportPage | None:
        """Open the page of this worker; None for a worker without a supervisor."""
        fd = os.environ.get(VARIABLE)
        return cls(Page.inherited(int(fd))) if fd is not None else None

    def write(self, report: WorkerReport) -> None:
        """Replace the report. If a batch does not fit on the page, only its first task is written."""
        content = orjson.dumps(report)
        if len(content) > self.page.room:
            content = orjson.dumps(replace(report, running=report.running[:1], under=[]))
        self.page.write(content)

    def read(self) -> WorkerReport | None:
        """Return the report that was written last; None before the first write."""
        text = self.page.read()
        if text is None:
            return None
        report = known(WorkerReport, orjson.loads(text))
        report.running = [known(RunningTask, r) for r in report.running]  # type: ignore[arg-type]  # tables, as JSON has them
        return report

    def close(self) -> None:
        """Close the page."""
        self.page.close()
