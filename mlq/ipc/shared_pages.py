"""Shared pages: memory that one process writes and others read at any time, always a complete content.

A worker writes on its page what it is doing, at every turn, for its supervisor (the worker report). The supervisor can
read it while the worker holds the GIL, is stopped, or has just died. A supervisor writes another page that all its
workers read without a request to Redis (the supervisor notices).
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypeVar

import orjson

from mlq.protocol.names import is_task_id

T = TypeVar("T")

_HEAD: Final = struct.Struct("<II")
_TRIES: Final = 5


class Page:
    """A block of `size` bytes, `room` of them for the content. A write takes microseconds and wakes no process."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self._page = mmap.mmap(fd, size)
        self.room = size - _HEAD.size
        self._lock = threading.Lock()
        self._last: bytes | None = None
        self._head = b""

    @classmethod
    def create(cls, name: str, size: int) -> Page:
        """Make an empty page; a child process can inherit its descriptor."""
        fd = os.memfd_create(name)
        os.ftruncate(fd, size)
        return cls(fd, size)

    @classmethod
    def inherited(cls, fd: int) -> Page:
        """Open the page behind a descriptor. Its creator, maybe another version of mlq, has chosen the size."""
        return cls(fd, os.fstat(fd).st_size)

    def write(self, content: bytes) -> None:
        """Replace the content. Raises ValueError if it does not fit."""
        if len(content) > self.room:
            raise ValueError(f"{len(content)} bytes do not fit on a page of {self.room}")
        with self._lock:
            head = _HEAD.pack(zlib.crc32(content), len(content))
            self._page[: _HEAD.size + len(content)] = head + content

    def has_changed(self) -> bool:
        """Return whether the content may differ from what was read last. Cheap: only the checksum is compared."""
        return self._page[: _HEAD.size] != self._head

    def read(self) -> bytes | None:
        """Return the content that was written last; None before the first write.

        During a write the checksum does not match. Then the page is read again. If the writer was stopped in the middle
        of a write, the content of the last successful read is returned.
        """
        for _ in range(_TRIES):
            try:
                head = self._page[: _HEAD.size]
                checksum, length = _HEAD.unpack(head)
                content = self._page[_HEAD.size : _HEAD.size + length]
            except ValueError:  # another thread has closed the page, because the worker has ended
                break
            if content and zlib.crc32(content) == checksum:
                self._last, self._head = content, head
                break
        return self._last

    def close(self) -> None:
        """Unmap the page and close its descriptor."""
        self._page.close()
        os.close(self.fd)


REPORT_VARIABLE: Final = "MLQ_BOARD_FD"
"""Environment variable of a worker: the descriptor of the page with its report."""

_REPORT_BYTES: Final = 4 * 1024 * 1024
"""Size of that page: enough for a batch of ten thousand messages. Parts that are never written take no memory."""


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
        return cls(Page.create("mlq-board", _REPORT_BYTES))

    @classmethod
    def inherited(cls) -> ReportPage | None:
        """Open the page of this worker; None for a worker without a supervisor."""
        fd = os.environ.get(REPORT_VARIABLE)
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


NOTICES_VARIABLE: Final = "MLQ_NOTICES_FD"
"""Environment variable of a worker: the descriptor of the page with its supervisor's notices."""

MOST_REVOKED: Final = 10_000
"""Revoked tasks that are kept, as many as in Celery's own workers."""

_MOST_TICKETS: Final = 100
_LONGEST_TICKET: Final = 255
_NOTICES_BYTES: Final = 2 * 2**20
_REVOKED_BYTES: Final = _NOTICES_BYTES - 2**18
"""Bytes of that page for the ids of revoked tasks; the rest is for tickets and punctuation."""


class SupervisorNotices:
    """The supervisor's side: the revoked tasks, and the control messages that it has answered for busy workers."""

    def __init__(self) -> None:
        self.page = Page.create("mlq-notices", _NOTICES_BYTES)
        self._sizes: dict[str, int] = {}  # the bytes that each revoked id takes on the page
        self._revoked: tuple[str, ...] = ()
        self._revoked_bytes = 0
        self._tickets: deque[str] = deque(maxlen=_MOST_TICKETS)
        self._write()

    @property
    def revoked(self) -> tuple[str, ...]:
        """The ids of revoked tasks, the earliest first.

        The mailbox thread replaces the tuple by one assignment, because the loop reads it at each death of a worker: it
        must not iterate over a dictionary that changes meanwhile.
        """
        return self._revoked

    def revoke(self, task_ids: Iterable[str]) -> None:
        """Add tasks that must not run. If the page is full, the earliest ones are dropped.

        Ids that no task can have are ignored.
        """
        for task_id in filter(is_task_id, task_ids):
            size = len(orjson.dumps(task_id)) + 1
            self._revoked_bytes += size - self._sizes.pop(task_id, 0)
            self._sizes[task_id] = size
            while len(self._sizes) > MOST_REVOKED or self._revoked_bytes > _REVOKED_BYTES:
                self._revoked_bytes -= self._sizes.pop(next(iter(self._sizes)))
        self._revoked = tuple(self._sizes)
        self._write()

    def answered(self, ticket: str) -> None:
        """Add the ticket of a control message that the worker must not answer again."""
        self._tickets.append(ticket[:_LONGEST_TICKET])
        self._write()

    def _write(self) -> None:
        self.page.write(orjson.dumps({"revoked": self._revoked, "tickets": list(self._tickets)}))


class NoticeReader:
    """The worker's side of the page."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._tickets: frozenset[str] = frozenset()
        self._revoked: list[str] = []
        self._is_reported = True

    @classmethod
    def inherited(cls) -> NoticeReader | None:
        """Open the page of this worker's supervisor; None for a worker without a supervisor."""
        fd = os.environ.get(NOTICES_VARIABLE)
        return cls(Page.inherited(int(fd))) if fd is not None else None

    def revoked(self) -> list[str] | None:
        """Return the revoked tasks if the page has changed since the last call, else None."""
        self._refresh()
        is_reported, self._is_reported = self._is_reported, True
        return None if is_reported else self._revoked

    def is_answered(self, ticket: str | None) -> bool:
        """Return whether the supervisor has answered the control message with this ticket."""
        self._refresh()
        return ticket is not None and ticket[:_LONGEST_TICKET] in self._tickets

    def _refresh(self) -> None:
        if not self._page.has_changed():
            return
        fields = orjson.loads(self._page.read() or b'{"revoked": [], "tickets": []}')
        self._revoked, self._tickets = fields["revoked"], frozenset(fields["tickets"])
        self._is_reported = False
