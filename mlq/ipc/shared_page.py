"""Page: shared memory that one process writes and others read, whole, whatever moment they read at."""

from __future__ import annotations

import mmap
import os
import struct
import threading
import zlib
from typing import Final

_HEAD: Final = struct.Struct("<II")
_TRIES: Final = 5


class Page:
    """A block of `size` bytes, with `room` for what is written. Writing costs microseconds and wakes nobody."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self._page = mmap.mmap(fd, size)
        self.room = size - _HEAD.size
        self._lock = threading.Lock()
        self._last: bytes | None = None
        self._head = b""

    @classmethod
    def create(cls, name: str, size: int) -> Page:
        """Make an empty page, whose descriptor a child can inherit."""
        fd = os.memfd_create(name)
        os.ftruncate(fd, size)
        return cls(fd, size)

    @classmethod
    def inherited(cls, fd: int) -> Page:
        """Open the page behind a descriptor, in the size that its maker chose: that may be another version of mlq."""
        return cls(fd, os.fstat(fd).st_size)

    def write(self, content: bytes) -> None:
        """Replace what is on the page. Raises ValueError for more than fits."""
        if len(content) > self.room:
            raise ValueError(f"{len(content)} bytes do not fit on a page of {self.room}")
        with self._lock:
            head = _HEAD.pack(zlib.crc32(content), len(content))
            self._page[: _HEAD.size + len(content)] = head + content

    def has_changed(self) -> bool:
        """Tell cheaply whether there is something else than what was read last."""
        return self._page[: _HEAD.size] != self._head

    def read(self) -> bytes | None:
        """Read what was written last; None before the first time.

        A page that is being written does not match its checksum. It is read again, and if its writer was stopped just
        then, what was there before is given.
        """
        for _ in range(_TRIES):
            try:
                head = self._page[: _HEAD.size]
                checksum, length = _HEAD.unpack(head)
                content = self._page[_HEAD.size : _HEAD.size + length]
            except ValueError:  # closed by another thread, which has just buried its worker
                break
            if content and zlib.crc32(content) == checksum:
                self._last, self._head = content, head
                break
        return self._last

    def close(self) -> None:
        """Let go of the page."""
        self._page.close()
        os.close(self.fd)
