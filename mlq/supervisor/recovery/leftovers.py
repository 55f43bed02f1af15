"""Leftovers: processes that a worker's model had started and that outlive the worker.

They are ended before the next worker starts, because an inference server or a data loader may hold the GPU that it
needs. The supervisor is a subreaper: the kernel makes it the parent of processes that lose their own. So their pids
cannot be reused before the supervisor has collected them.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from mlq.supervisor.recovery import guard
from mlq.supervisor.recovery.guard import GIVE_UP_S, GRACE_S, Process

_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_GET_CHILD_SUBREAPER: Final = 37

_COLLECT_AFTER_S: Final = 1.0
"""Seconds after which a zombie is collected here. If a thread waited for that process, it would have collected it."""


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Make this process the parent of descendants that lose their own, until the block ends (no-op outside Linux).

    The setting is undone afterwards, because only the event loop collects such children: without it, every orphan that
    ends would stay a zombie.
    """
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    before = ctypes.c_int()
    libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


class Guard:
    """The guard process: it ends the processes marked with `owner` if this supervisor is killed (see guard.py)."""

    def __init__(self) -> None:
        self.owner = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the guard process. Raises OSError if the system has no process left."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, self.owner],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def follow(self, pid: int) -> None:
        """Let the guard end the session of this worker, if it comes to that."""
        self._send(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """Take this worker's session from the guard's list: its number may be reused from now on."""
        self._send(f"-{pid}\n")

    def close(self) -> None:
        """End the guard process, now that no worker is left."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def _send(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):  # the guard was killed; the workers go on without it
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()


class Leftovers:
    """The remaining processes of one dead worker. Its pid is not collected yet, so no other process can have it."""

    def __init__(self, pid: int, owner: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._pid = pid
        self._owner = owner
        self._clock = clock
        self._began = clock()
        self._signaled: set[int] = set()
        self.survivors: list[int] = []
        """Pids of processes that did not end within GIVE_UP_S."""

    def have_ended(self) -> bool:
        """Signal the remaining processes; return True once none is left, or those that are left survive SIGKILL.

        Call this until it returns True. They get SIGTERM first, and SIGKILL after GRACE_S.
        """
        # Two looks have to find nothing: a process that ends during the first one hands its children over.
        left = self._left() or self._left()
        if not left:
            return True
        passed = self._clock() - self._began
        if passed >= GIVE_UP_S:
            self.survivors = [p.pid for p in left]
            return True
        is_over = passed >= GRACE_S
        if is_over:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
        for process in left:
            if is_over or process.pid not in self._signaled:
                self._signaled.add(process.pid)
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process.pid, signal.SIGKILL if is_over else signal.SIGTERM)
        return False

    def _left(self) -> list[Process]:
        """Return those that still run, and collect those that have ended."""
        found = [p for p in _children() if p.pid != self._pid and self._is_leftover(p)]
        for zombie in (p for p in found if p.is_zombie):
            _collect(zombie.pid)
        return [p for p in found if not p.is_zombie]

    def _is_leftover(self, process: Process) -> bool:
        return process.session == self._pid or process.is_marked(self._owner)


class Adopted:
    """Orphans that the kernel gave to this process, and for which no thread waits."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._zombies: dict[tuple[int, int], float] = {}

    def collect(self, own: Collection[int]) -> None:
        """Collect those that ended a while ago, except `own` children. A thread may still collect a recent one."""
        now = self._clock()
        zombies = {(p.pid, p.started) for p in _children() if p.is_zombie and p.pid not in own}
        self._zombies = {z: self._zombies.get(z, now) for z in zombies}
        for (pid, _), since in self._zombies.items():
            if now - since >= _COLLECT_AFTER_S:
                _collect(pid)


def _children() -> list[Process]:
    """Return this process's children. The kernel lists them by thread."""
    found: list[Process] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # the thread has ended
            for pid in (task / "children").read_text().split():
                with suppress(OSError):
                    found.append(Process(int(pid)))
    return found


def _collect(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
