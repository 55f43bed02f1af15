"""Slots: the names of workers on this host; each is taken by one supervisor at a time.

A slot is a lock on a file in the state directory; the kernel releases it when its supervisor ends, in any way. The GPU
of a slot is locked as well, for the whole host (device_locks.py).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mlq.errors import MlqError, SlotTaken
from mlq.ipc.file_lock import try_lock
from mlq.ipc.private_files import open_state, private_directory, read_private
from mlq.supervisor.devices import device_locks

if TYPE_CHECKING:
    from mlq.supervisor.devices.gpus import Gpu


class Slots:
    """The slots and devices that this supervisor has taken, until it frees them.

    Args:
        state: The state directory, which has the locks of slots.
        shared: The directory of the device locks; None: the one that all users of the host share.
    """

    def __init__(self, state: Path, shared: Path | None = None) -> None:
        self._shared = shared
        self._directory = private_directory(state / "slots")
        self._held: dict[str, IO[str]] = {}
        self._locked: dict[str, IO[str]] = {}
        self._device_of: dict[str, str] = {}

    def close(self) -> None:
        """Free all slots and devices."""
        for name in list(self._held):
            self.free(name)

    def free(self, name: str) -> None:
        """Free a slot whose worker has ended, and its device if no other slot uses it."""
        self._held.pop(name).close()
        device = self._device_of.pop(name, None)
        if device is not None and device not in self._device_of.values():
            self._locked.pop(device).close()

    def take(self, names: Sequence[str], gpu: Gpu | None = None) -> list[str]:
        """Take all of these slots and their device, or none of them.

        Raises SlotTaken and DeviceTaken, which name the holder, and DeviceLockUnusable.
        """
        taken: list[str] = []
        try:
            for name in names:
                if not self._lock(name):
                    raise SlotTaken(name=name, pid=read_private(self._path(name)).strip() or "?")
                taken.append(name)
            if gpu is not None:
                self._lock_device(gpu, names)
        except MlqError:
            for name in taken:
                self.free(name)
            raise
        return taken

    def take_free(self, prefix: str, workers: int) -> list[str]:
        """Take a free slot for each of `workers` workers, named `prefix` + a number, the lowest numbers first."""
        return list(islice((n for n in (f"{prefix}{i}" for i in count()) if self._lock(n)), workers))

    def _lock_device(self, gpu: Gpu, names: Sequence[str]) -> None:
        if gpu.uuid not in self._locked:
            directory = self._shared or device_locks.shared_directory()
            self._locked[gpu.uuid] = device_locks.lock_device(directory, gpu, names[0])
        self._device_of.update(dict.fromkeys(names, gpu.uuid))

    def _lock(self, name: str) -> bool:
        file = open_state(self._path(name), "a+")
        if not try_lock(file):
            file.close()
            return False
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._held[name] = file
        return True

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.lock"
