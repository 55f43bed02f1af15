"""Board: a page of shared memory on which a worker writes what it is doing, for its supervisor to read.

Writing costs microseconds and wakes nobody, so it is done at every turn; and it can be read while the worker holds
the GIL, is frozen, or has just died.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

VARIABLE: Final = "MLQ_BOARD_FD"
"""Names the page's descriptor in the worker's environment."""

_SIZE: Final = 64 * 1024
_HEAD: Final = struct.Struct("<II")
_TRIES: Final = 5


@dataclass
class Report:
    """What a worker says of itself.

    `since` is when `state` began (seconds since 1970), `busy_s` the seconds of all tasks and batches so far, `done` the
    tasks ended by queue. `forwards` are running sums over the turns of one forward each: how many, Σ rows, Σ seconds,
    Σ rows², Σ rows·seconds, Σ seconds²; differences of two reports fit the time that a batch takes. `leased` tells
    that its lease is there to be renewed, `looked_at` when it last asked for work (seconds, monotonic).
    While a hard time limit of `limit_s` runs, `deadline` is when it ends (monotonic) and `under` names the claims.
    """

    state: str = "starting"
    since: float = 0.0
    fingerprint: str | None = None
    task: str | None = None
    tasks_done: int = 0
    rows_done: int = 0
    busy_s: float = 0.0
    done: dict[str, int] = field(default_factory=dict)
    forwards: list[float] = field(default_factory=lambda: [0.0] * 6)
    leased: bool = False
    looked_at: float = 0.0
    deadline: float | None = None
    limit_s: float = 0.0
    under: list[str] = field(default_factory=list)


class Board:
    """One page; one process writes it, others read."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._page = mmap.mmap(fd, _SIZE)
        self._lock = threading.Lock()
        self._last: Report | None = None

    @classmethod
    def create(cls) -> Board:
        """Make an empty page, whose descriptor a child can inherit."""
        fd = os.memfd_create("mlq-board")
        os.ftruncate(fd, _SIZE)
        return cls(fd)

    @classmethod
    def inherited(cls) -> Board | None:
        """Open the page that a supervisor has handed down; None for a worker without one."""
        fd = os.environ.get(VARIABLE)
        return cls(int(fd)) if fd is not None else None

    def write(self, report: Report) -> None:
        """Replace what is on the page."""
        text = orjson.dumps(report)
        with self._lock:
            self._page[: _HEAD.size + len(text)] = _HEAD.pack(zlib.crc32(text), len(text)) + text

    def read(self) -> Report | None:
        """Read what was written last; None before the first time.

        A page that is being written does not match its checksum. It is read again, and if its writer was stopped just
        then, the report before it is given.
        """
        for _ in range(_TRIES):
            try:
                checksum, length = _HEAD.unpack(self._page[: _HEAD.size])
                text = self._page[_HEAD.size : _HEAD.size + length]
            except ValueError:  # closed by another thread, which has just buried its worker
                break
            if text and zlib.crc32(text) == checksum:
                fields: dict[str, Any] = orjson.loads(text)
                self._last = Report(**fields)
                break
        return self._last

    def close(self) -> None:
        """Let go of the page."""
        self._page.close()
        os.close(self.fd)
