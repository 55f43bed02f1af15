"""Death: how a worker ended, and whether its messages are to blame."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlq.exit_codes import ExitCode
from mlq.store.claims.leases import Crash

if TYPE_CHECKING:
    from mlq.ipc.shared_pages import RunningTask, WorkerReport


BLAMELESS: Final = frozenset({ExitCode.DONE, ExitCode.INVALID, ExitCode.BROKER, ExitCode.RECYCLED, ExitCode.FENCED})
"""Exit codes for which no message is to blame.

This holds only if the worker announced the code, because a model may call os._exit with any number.
"""

OVERRUN: Final = "hard-time-limit"


@dataclass(frozen=True)
class Overrun:
    """A hard time limit that had passed when the worker ended."""

    limit_s: float
    #: The claims to which the limit applied.
    claims: Collection[str]


@dataclass(frozen=True)
class Death:
    """The end of one worker."""

    #: The worker's id.
    wid: str
    #: Exit code, or minus the signal.
    code: int
    #: The supervisor had asked the worker to end.
    asked: bool
    #: The worker itself announced the exit code.
    announced: bool = False
    #: The time limit that had passed, if one had.
    overrun: Overrun | None = None
    #: Tasks that the worker was running and had acknowledged before.
    acked: Sequence[RunningTask] = ()
    #: Ids of all revoked tasks.
    revoked: Collection[str] = ()
    device: str = ""
    #: The driver had reported a fault of the GPU itself.
    device_at_fault: bool = False
    #: The kernel's out-of-memory killer had killed a process.
    oom: bool = False
    #: Workers that a message may crash, running alone, before it becomes a dead letter.
    max_crashes: int = 3

    @classmethod
    def seen(cls, wid: str, code: int, report: WorkerReport | None, at: float, *, asked: bool) -> Death:
        """Describe the end of a worker, at the monotonic time `at`, from its last report."""
        if report is None:
            return cls(wid, code, asked, announced=True)
        is_over = report.deadline is not None and at >= report.deadline
        overrun = Overrun(report.limit_s, report.under) if is_over else None
        acked = [task for task in report.running if task.is_acked]
        return cls(wid, code, asked, report.has_announced, overrun, acked)

    @property
    def ended(self) -> str:
        """How the worker ended, as text."""
        killer = " from the kernel, which was out of memory" if self.oom else ""
        failed = ", because its device failed" if self.code == ExitCode.DEVICE_LOST else ""
        how = f"exit code {self.code}{failed}" if self.code >= 0 else f"signal {-self.code}{killer}"
        return f"its worker ended with {how}"

    @property
    def crash(self) -> Crash | None:
        """The blame for the worker's claims; None if the end was orderly, or the fault of the device."""
        if self.asked or self.device_at_fault or (self.announced and self.code in BLAMELESS):
            return None
        how = ("exit_code", self.code) if self.code >= 0 else ("signal", -self.code)
        about = {"worker": self.wid, "host": socket.gethostname(), "device": self.device, how[0]: str(how[1])}
        if self.overrun is not None:
            about |= {"reason": OVERRUN, "why": self.verdict, "limit_s": str(self.overrun.limit_s)}
            # A message that ran alone is certainly to blame, and would take as long again: it becomes a dead letter
            # now. A message of a batch is only a suspect.
            return Crash(1, about, self.overrun.claims)
        return Crash(self.max_crashes, {**about, "reason": "crash", "why": self.ended})

    @property
    def verdict(self) -> str:
        """Why a message becomes a dead letter after this death."""
        if self.overrun is not None:
            return f"it took longer than {self.overrun.limit_s:g} s"
        return f"{self.max_crashes} workers died while they ran it alone"


_COUNTERS = Path("/proc/vmstat")


def oom_kills() -> int:
    """Return how many processes the out-of-memory killer has killed since boot, also for the limits of containers.

    Linux counts them since 4.13; without the counter this is 0.
    """
    try:
        lines = _COUNTERS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


class OomWatch:
    """The count of the out-of-memory killer, compared with the previous look."""

    def __init__(self, count: Callable[[], int] = oom_kills) -> None:
        self._count = count
        self._before = count()

    def struck(self) -> bool:
        """Return whether a process was killed since the last call, or since this object was made."""
        before, self._before = self._before, self._count()
        return self._before > before
