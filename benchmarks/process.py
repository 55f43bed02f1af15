"""A contender's processes: started in their own session, measured as a tree, ended by pid."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from mlq.ipc import parent_death

READY_WITHIN_S: Final = 90.0
STOP_WITHIN_S: Final = 15.0
_POLL_S: Final = 0.02
_SHOWN: Final = 2000


class Process:
    """A command in the background, with all processes below it."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.argv = argv
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                # If the benchmark is killed, its workers end, too.
                parent_death.command(list(argv), signal.SIGTERM),
                env=environment,
                cwd=log.parent,  # no configuration file and no module of the user
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def wait_for(self, text: str) -> None:
        """Wait until its log contains a text."""
        deadline = time.monotonic() + READY_WITHIN_S
        while text not in self._log.read_text(errors="replace"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                output = self._log.read_text(errors="replace")[-_SHOWN:]
                raise RuntimeError(f"{text!r} did not come from {' '.join(self.argv)}:\n{output}")
            time.sleep(_POLL_S)

    def cpu_s(self) -> dict[int, float]:
        """Return the CPU time of each process of the tree so far."""
        times = {p.pid: p.cpu_times() for p in self._tree()}
        return {pid: t.user + t.system for pid, t in times.items()}

    def rss_bytes(self) -> int:
        """Return the resident memory of the largest process, which has the model."""
        return max(int(p.memory_info().rss) for p in self._tree())

    def freeze(self) -> None:
        """Stop every process of the tree."""
        for process in self._tree():
            process.suspend()

    def thaw(self) -> None:
        """Let a frozen tree run again."""
        for process in self._tree():
            process.resume()

    def end(self) -> None:
        """Stop it as its users do, then by force; the tree is read first, by pid."""
        if self._process.poll() is not None:
            return
        tree = self._tree()
        self._process.terminate()
        _, alive = psutil.wait_procs(tree, timeout=STOP_WITHIN_S)
        for process in alive:
            process.kill()
        self._process.wait()

    def _tree(self) -> list[psutil.Process]:
        top = psutil.Process(self._process.pid)
        return [top, *top.children(recursive=True)]


def spent(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Return the CPU time between two readings of a tree. A death in between makes the measurement invalid."""
    if before.keys() - after.keys():
        raise RuntimeError("a process of the contender died while it was measured")
    return sum(after.values()) - sum(before.values())
