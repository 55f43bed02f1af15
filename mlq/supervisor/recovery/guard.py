"""The guard of a supervisor: if the supervisor is killed, it ends what the workers had started.

As a program, which imports nothing of mlq, it waits on its standard input for the supervisor's end:

    python guard.py OWNER

The supervisor writes `+PID` there for each worker that it starts and `-PID` for each that it has collected. Its end
closes the pipe, however it came. The kernel then kills the workers (tether.py); what they had started has lost its
parent by then, and is found by the owner's mark in its environment, or by the session that it shares with a worker.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Collection, Iterator

VARIABLE = "MLQ_OWNER"
"""Names, in the environment of a worker and of all that it starts: OWNER/WORKER."""

GRACE_S = 1.0
"""Seconds between SIGTERM and SIGKILL."""

GIVE_UP_S = 10.0
"""After so many seconds a process is left that even SIGKILL does not end."""

_POLL_S = 0.02
_STATE, _PARENT, _SESSION, _STARTED = 0, 1, 3, 19
"""Fields of /proc/PID/stat, counted from the one behind the command's name."""


class Process:
    """What /proc says of a process. Raises OSError for one that has gone."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 (this program starts in 10 ms without pathlib)
            fields = file.read().rpartition(b")")[2].split()
        self.is_zombie = fields[_STATE] in {b"Z", b"X"}
        self.parent = int(fields[_PARENT])
        self.session = int(fields[_SESSION])
        self.started = int(fields[_STARTED])
        """In clock ticks since the host's start: with the pid it names one process for good."""

    def is_marked(self, mark: str) -> bool:
        """Whether its environment, as of its last exec, says that `mark` owns it; a mark may end in a slash."""
        try:
            with open(f"/proc/{self.pid}/environ", "rb") as file:  # noqa: PTH123
                words = file.read().split(b"\0")
        except OSError:  # another user's by now, or gone
            return False
        wanted = f"{VARIABLE}={mark}".encode()
        return any(word.startswith(wanted) if mark.endswith("/") else word == wanted for word in words)


def processes() -> Iterator[Process]:
    """Yield every process of this host that can be seen."""
    for name in os.listdir("/proc"):  # noqa: PTH208 (as above)
        if name.isdigit():
            try:
                yield Process(int(name))
            except OSError:
                continue


def signal_safely(process: Process, number: signal.Signals) -> None:
    """Signal exactly this process: its pid may have been given to another since it was looked at."""
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


def main() -> None:
    """Wait for the supervisor's end, then end what is left."""
    owner = sys.argv[1]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they mean the supervisor, whose end is the only one awaited here
    workers: set[int] = set()
    with os.fdopen(0, "r") as supervisor:
        for line in supervisor:
            change = workers.add if line[0] == "+" else workers.discard
            change(int(line[1:]))
    _end(owner, workers)


def _end(owner: str, sessions: Collection[int]) -> None:
    began = time.monotonic()
    ticks = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")

    def is_left(process: Process) -> bool:
        # A session's number may be given to a stranger's as soon as its last process has ended, but not before.
        is_known = process.session in sessions and process.started <= ticks
        return not process.is_zombie and (is_known or process.is_marked(f"{owner}/"))

    told: set[int] = set()
    while time.monotonic() - began < GIVE_UP_S:
        left = [p for p in processes() if is_left(p)]
        if not left:
            return
        is_over = time.monotonic() - began >= GRACE_S
        for process in left:
            if is_over or process.pid not in told:
                signal_safely(process, signal.SIGKILL if is_over else signal.SIGTERM)
                told.add(process.pid)
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main()
