"""The parent-death signal: a process ends when its parent ends, in any way, so no process is left behind.

As a program, this file requests the signal for itself and then executes the given command, which keeps it:

    python parent_death.py SIGTERM PARENT_PID valkey-server --port 0
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _own_source() -> str:
    from pathlib import Path

    return Path(__file__).read_text(encoding="utf-8")


_SOURCE = "" if __name__ == "__main__" else _own_source()
"""The text of this file when the process started: an upgrade may replace or move the file while a supervisor runs."""


def tie(to_parent: int, death_signal: signal.Signals) -> None:
    """Let the kernel send `death_signal` to this process when its parent ends (Linux; elsewhere a no-op).

    If the parent has died before this call, the kernel sends nothing. So the parent is checked once afterwards.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != to_parent:
        os.kill(os.getpid(), death_signal)


def command(program: list[str], death_signal: signal.Signals) -> list[str]:
    """Return the command line that runs `program` so that it dies with the process (and thread) that starts it.

    -I keeps a stray signal.py or ctypes.py in the working directory from being imported.
    """
    return [sys.executable, "-I", "-S", "-c", _SOURCE, death_signal.name, str(os.getpid()), *program]


if __name__ == "__main__":
    tie(int(sys.argv[2]), signal.Signals[sys.argv[1]])
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 (our own argv, no shell)
