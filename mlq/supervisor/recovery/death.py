"""Death: a worker's end, and who is to blame for it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlq.store.claims.leases import Crash

if TYPE_CHECKING:
    from mlq.ipc.worker_report import RunningTask, WorkerReport


BLAMELESS: Final = frozenset({0, 3, 4, 75, 76})
"""Exit codes that no message is to blame for: drained, misconfigured, no broker, recycled, fenced.

They mean that only where the worker announced them: a model may call os._exit with any of these.
"""

DEVICE_LOST: Final = 70
"""Exit code of a worker whose device failed during a forward. A row may be the cause, unless the GPU is at fault."""

OVERRUN: Final = "hard-time-limit"


@dataclass(frozen=True)
class Overrun:
    """A hard time limit (seconds) that had passed, and the claims that it was for."""

    limit_s: float
    claims: Collection[str]


@dataclass(frozen=True)
class Death:
    """A worker's end: who it was, how it ended, whether we had asked it to, and which time limit had passed.

    With `announced` the exit code is the worker's own word.
    `acked` are the tasks that it ran and had acknowledged before, `revoked` the ids of tasks that somebody had
    revoked. With `oom` the kernel's out-of-memory killer had been at work.
    With `device_at_fault` the driver had reported a fault of the GPU itself.
    `max_crashes` are the workers that a message may take down alone before it is a dead letter.
    """

    wid: str
    code: int
    asked: bool
    announced: bool = False
    overrun: Overrun | None = None
    acked: Sequence[RunningTask] = ()
    revoked: Collection[str] = ()
    device: str = ""
    device_at_fault: bool = False
    oom: bool = False
    max_crashes: int = 3

    @classmethod
    def seen(cls, wid: str, code: int, report: WorkerReport | None, at: float, *, asked: bool) -> Death:
        """Describe the end of a worker by its last report, at a time of the monotonic clock."""
        if report is None:
            return cls(wid, code, asked, announced=True)
        is_over = report.deadline is not None and at >= report.deadline
        overrun = Overrun(report.limit_s, report.under) if is_over else None
        acked = [task for task in report.running if task.is_acked]
        return cls(wid, code, asked, report.has_announced, overrun, acked)

    @property
    def ended(self) -> str:
        """How it ended, in words."""
        killer = ", by the kernel for want of memory" if self.oom else ""
        failed = ", because its device failed" if self.code == DEVICE_LOST else ""
        how = f"exit code {self.code}{failed}" if self.code >= 0 else f"signal {-self.code}{killer}"
        return f"its worker ended with {how}"

    @property
    def crash(self) -> Crash | None:
        """Who is to blame: what the worker held, unless it ended as it should or as we wanted."""
        if self.asked or self.device_at_fault or (self.announced and self.code in BLAMELESS):
            return None
        how = ("exit_code", self.code) if self.code >= 0 else ("signal", -self.code)
        about = {"worker": self.wid, "host": socket.gethostname(), "device": self.device, how[0]: str(how[1])}
        if self.overrun is not None:
            about |= {"reason": OVERRUN, "why": self.verdict, "limit_s": str(self.overrun.limit_s)}
            # Alone it is to blame for certain, and would take as long once more. In company it is only a suspect.
            return Crash(1, about, self.overrun.claims)
        return Crash(self.max_crashes, {**about, "reason": "crash", "why": self.ended})

    @property
    def verdict(self) -> str:
        """Why a message is a dead letter that this was the last straw for."""
        if self.overrun is not None:
            return f"it took longer than {self.overrun.limit_s:g} s"
        return f"it took {self.max_crashes} workers down, alone in their hands"


_COUNTERS = Path("/proc/vmstat")


def oom_kills() -> int:
    """Count the processes that it has killed since the kernel started, those of a container's own limit included.

    Linux counts them since 4.13; where nobody counts there are none.
    """
    try:
        lines = _COUNTERS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


class OomWatch:
    """Tells whether the killer was at work since it was asked last, or was made."""

    def __init__(self, count: Callable[[], int] = oom_kills) -> None:
        self._count = count
        self._before = count()

    def struck(self) -> bool:
        """Look at the count once more."""
        before, self._before = self._before, self._count()
        return self._before > before
