"""The guard of a supervisor: if the supervisor is killed, the guard ends the processes that its workers had started.

It is a program of its own, which imports nothing of mlq, and waits on its standard input for the supervisor's end:

    python guard.py OWNER

The supervisor writes `+PID` for each worker that it starts and `-PID` for each dead worker that it has reaped
(waitpid). When the supervisor ends, in any way, the pipe is closed. The kernel then kills the workers
(mlq/ipc/parent_death.py). The processes that they had started go on without a parent.

OWNER is a random token of the supervisor. Each worker has MLQ_OWNER=OWNER/WORKER in its environment, and leads a
session of its own. The guard finds the processes by this variable, which they inherit, or by their session.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Collection, Iterator

VARIABLE = "MLQ_OWNER"
"""Environment variable of a worker and of the processes that it starts: OWNER/WORKER."""

GRACE_S = 1.0
"""Seconds between SIGTERM and SIGKILL."""

GIVE_UP_S = 10.0
"""Seconds after which a process that survives SIGKILL is given up."""

_POLL_S = 0.02
_STATE, _PARENT, _SESSION, _STARTED = 0, 1, 3, 19
"""Fields of /proc/PID/stat, counted from the one after the command's name."""


class Process:
    """What /proc says about a process. Raises OSError if the process has ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 (this program starts in 10 ms without pathlib)
            fields = file.read().rpartition(b")")[2].split()
        self.is_zombie = fields[_STATE] in {b"Z", b"X"}
        self.parent = int(fields[_PARENT])
        self.session = int(fields[_SESSION])
        self.started = int(fields[_STARTED])
        """Clock ticks from boot to the start of the process. Together with the pid they identify it for good."""

    def is_marked(self, mark: str) -> bool:
        """Return True if the environment with which the process was last executed has MLQ_OWNER equal to `mark`.

        If `mark` ends with "/", MLQ_OWNER only has to begin with it.
        """
        try:
            with open(f"/proc/{self.pid}/environ", "rb") as file:  # noqa: PTH123
                words = file.read().split(b"\0")
        except OSError:  # the process belongs to another user, or has ended
            return False
        wanted = f"{VARIABLE}={mark}".encode()
        return any(word.startswith(wanted) if mark.endswith("/") else word == wanted for word in words)


def processes() -> Iterator[Process]:
    """Yield every process of this host that /proc shows."""
    for name in os.listdir("/proc"):  # noqa: PTH208 (as above)
        if name.isdigit():
            try:
                yield Process(int(name))
            except OSError:
                continue


def signal_safely(process: Process, number: signal.Signals) -> None:
    """Signal exactly this process, although its pid may have been reused since it was read."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        if Process(process.pid).started == process.started:
            signal.pidfd_send_signal(pidfd, number)
    except OSError:
        return
    finally:
        os.close(pidfd)


def main(owner: str) -> None:
    """Wait for the end of the supervisor with this mark, then end the remaining processes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the signals are meant for the supervisor; the guard waits for its end
    workers: set[int] = set()
    with os.fdopen(0, "r") as supervisor:
        for line in supervisor:
            change = workers.add if line[0] == "+" else workers.discard
            change(int(line[1:]))
    _end(owner, workers)


def _end(owner: str, workers: Collection[int]) -> None:
    """End the processes that the workers have started.

    `workers` are pids. Each worker leads a session of its own, so its pid is also the number of the session.
    """
    began = time.monotonic()
    ended_at = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")

    def is_left(process: Process) -> bool:
        # The kernel may give a session's number to a new session when all processes of the old one have ended. The
        # supervisor had not reaped these workers when it ended, so their numbers could not be reused before. A process
        # that started later may belong to a new session, so its session number is no reason to end it.
        is_known = process.session in workers and process.started <= ended_at
        return not process.is_zombie and (is_known or process.is_marked(f"{owner}/"))

    signaled: set[int] = set()
    while time.monotonic() - began < GIVE_UP_S:
        left = [p for p in processes() if is_left(p)]
        if not left:
            return
        is_over = time.monotonic() - began >= GRACE_S
        for process in left:
            if is_over or process.pid not in signaled:
                signal_safely(process, signal.SIGKILL if is_over else signal.SIGTERM)
                signaled.add(process.pid)
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main(sys.argv[1])
