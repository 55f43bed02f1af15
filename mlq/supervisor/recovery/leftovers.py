"""Leftovers: what a worker's model had started and what outlives the worker. It ends before the next worker starts.

An inference server or a data loader may hold the GPU that the next worker needs. The kernel gives processes that lose
their parent to this supervisor (as PID 1 of a container it would get them anyway), so they are its children, and their
pids cannot be reused before it has collected them.
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

_WAITED_FOR_S: Final = 1.0
"""A zombie that is older belongs to no thread that waits for it: such a thread collects it at once."""


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Be the parent of every descendant that loses its own, until the block ends (Linux; elsewhere a no-op).

    Only a running fleet collects such children. If the setting outlived it, a process that goes on afterwards would
    keep every later orphan that ends as a zombie.
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
    """A process that ends what the workers have started, should this supervisor be killed. `owner` marks all of it."""

    def __init__(self) -> None:
        self.owner = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Raises OSError where the system gives no process."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, self.owner],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def follow(self, pid: int) -> None:
        """Watch over a worker's session."""
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """Watch over it no more: its number may be a stranger's from now on."""
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """Let it end, now that no worker is left."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):  # it was killed: the workers go on without it
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()


class Leftovers:
    """What is left of one dead worker, whose pid has not been collected yet: its process group is still its own."""

    def __init__(self, pid: int, owner: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._pid = pid
        self._owner = owner
        self._clock = clock
        self._began = clock()
        self._told: set[int] = set()
        self.survivors: list[int] = []
        """Processes that did not end in time."""

    def have_ended(self) -> bool:
        """End what is left, politely at first; True once nothing is left, or what is left cannot be ended.

        Call it again until it is True. Two looks must find nothing: a process that ends hands its children over in the
        middle of one.
        """
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
            if is_over or process.pid not in self._told:
                self._told.add(process.pid)
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process.pid, signal.SIGKILL if is_over else signal.SIGTERM)
        return False

    def _left(self) -> list[Process]:
        """Find them among our children; collect those that have ended."""
        found = [p for p in _children() if p.pid != self._pid and self._is_ours(p)]
        for zombie in (p for p in found if p.is_zombie):
            _collect(zombie.pid)
        return [p for p in found if not p.is_zombie]

    def _is_ours(self, process: Process) -> bool:
        return process.session == self._pid or process.is_marked(self._owner)


class Adopted:
    """Children that the kernel gave to this process, and that nothing here waits for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._zombies: dict[tuple[int, int], float] = {}

    def collect(self, own: Collection[int]) -> None:
        """Collect those that have ended, except `own` children; for others a thread may be about to do it."""
        now = self._clock()
        zombies = {(p.pid, p.started) for p in _children() if p.is_zombie and p.pid not in own}
        self._zombies = {z: self._zombies.get(z, now) for z in zombies}
        for (pid, _), since in self._zombies.items():
            if now - since >= _WAITED_FOR_S:
                _collect(pid)


def _children() -> list[Process]:
    """List this process's children, those of each of its threads."""
    found: list[Process] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has ended
            for pid in (task / "children").read_text().split():
                with suppress(OSError):
                    found.append(Process(int(pid)))
    return found


def _collect(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
