"""Page: shared memory that one process writes and others read at any time, always a complete content."""

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
    """A block of `size` bytes, `room` of them for the content. A write takes microseconds and wakes no process."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self._page = mmap.mmap(fd, size)
        self.room = size - _HEAD.size
        self._lock = threading.Lock()
        self._last: bytes | None = None
        self._head = b""

    @classmethod
    def create(cls, name: str, size: int) -> Page:
        """Make an empty page; a child process can inherit its descriptor."""
        fd = os.memfd_create(name)
        os.ftruncate(fd, size)
        return cls(fd, size)

    @classmethod
    def inherited(cls, fd: int) -> Page:
        """Open the page behind a descriptor. Its creator, maybe another version of mlq, has chosen the size."""
        return cls(fd, os.fstat(fd).st_size)

    def write(self, content: bytes) -> None:
        """Replace the content. Raises ValueError if it does not fit."""
        if len(content) > self.room:
            raise ValueError(f"{len(content)} bytes do not fit on a page of {self.room}")
        with self._lock:
            head = _HEAD.pack(zlib.crc32(content), len(content))
            self._page[: _HEAD.size + len(content)] = head + content

    def has_changed(self) -> bool:
        """Return whether the content may differ from what was read last. Cheap: only the checksum is compared."""
        return self._page[: _HEAD.size] != self._head

    def read(self) -> bytes | None:
        """Return the content that was written last; None before the first write.

        During a write the checksum does not match. Then the page is read again. If the writer was stopped in the middle
        of a write, the content of the last successful read is returned.
        """
        for _ in range(_TRIES):
            try:
                head = self._page[: _HEAD.size]
                checksum, length = _HEAD.unpack(head)
                content = self._page[_HEAD.size : _HEAD.size + length]
            except ValueError:  # another thread has closed the page, because the worker has ended
                break
            if content and zlib.crc32(content) == checksum:
                self._last, self._head = content, head
                break
        return self._last

    def close(self) -> None:
        """Unmap the page and close its descriptor."""
        self._page.close()
        os.close(self.fd)
