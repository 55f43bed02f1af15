"""Tie a process's life to its parent's: whatever happens to the owner, nothing it started stays behind.

As a program it ties itself, then becomes the command it was given, which need not know:

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
"""This file as it was when the process started. An upgrade may replace or move it under a supervisor that runs."""


def tie(to_parent: int, death_signal: signal.Signals) -> None:
    """Ask the kernel for `death_signal` when the parent ends, however it ends (Linux; elsewhere a no-op).

    The parent may have died before we asked: then no signal will ever come, so this looks once afterwards.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != to_parent:
        os.kill(os.getpid(), death_signal)


def command(program: list[str], death_signal: signal.Signals) -> list[str]:
    """Wrap `program` so that it dies with the process (and thread) that starts it.

    -I: a stray signal.py or ctypes.py in the user's directory must not be imported here.
    """
    return [sys.executable, "-I", "-S", "-c", _SOURCE, death_signal.name, str(os.getpid()), *program]


if __name__ == "__main__":
    tie(int(sys.argv[2]), signal.Signals[sys.argv[1]])
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 (our own argv, no shell)
