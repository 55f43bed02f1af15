"""Slots: the names under which workers run on this host, each taken by one supervisor at a time.

A slot is a lock on a file of the state directory: the kernel frees it however its supervisor ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path
from typing import TextIO

from mlq.errors import SlotTaken


class Slots:
    """Takes slots and holds them until closed."""

    def __init__(self, state: Path) -> None:
        self._directory = state / "slots"
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held: dict[str, TextIO] = {}

    def close(self) -> None:
        """Free them all."""
        for name in list(self._held):
            self.free(name)

    def free(self, name: str) -> None:
        """Let another supervisor have a slot, whose worker has ended."""
        self._held.pop(name).close()

    def take(self, names: Sequence[str]) -> list[str]:
        """Take exactly these.

        Raises SlotTaken, naming the process that has one of them.
        """
        for name in names:
            if not self._lock(name):
                raise SlotTaken(name=name, pid=self._path(name).read_text().strip() or "?")
        return list(names)

    def take_free(self, prefix: str, number: int) -> list[str]:
        """Take `number` slots, named `prefix` and the lowest numbers that are free."""
        return list(islice((n for n in (f"{prefix}{i}" for i in count()) if self._lock(n)), number))

    def _lock(self, name: str) -> bool:
        file = self._path(name).open("a+")
        if not _locked(file):
            file.close()
            return False
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._held[name] = file
        return True

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.lock"


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
