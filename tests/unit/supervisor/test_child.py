"""The process of a worker, as its supervisor handles it."""

from __future__ import annotations

import os
import select
import signal
import sys
from dataclasses import dataclass

from mlq.ipc.shared_pages import SupervisorNotices
from mlq.settings.config import Settings
from mlq.supervisor.child import Child
from mlq.supervisor.spec import WorkerSpec


@dataclass(frozen=True)
class _Ending(WorkerSpec):
    """A process that ends at once, with exit code 5, instead of a worker."""

    def argv(self) -> list[str]:
        return [sys.executable, "-I", "-c", "raise SystemExit(5)"]


def test_a_signal_to_a_worker_that_has_just_ended_leaves_its_end_to_be_read() -> None:
    """The supervisor may kill a late worker at the moment at which it ends."""
    child = Child(_Ending("cpu0", Settings()), os.environ, SupervisorNotices(), "supervisor")
    select.select([child.pidfd], [], [])  # readable once the process has ended
    child.signal(signal.SIGKILL)
    assert child.look_at_end() == 5
    child.reap()
    child.signal(signal.SIGKILL)  # to no process: the descriptor is closed
