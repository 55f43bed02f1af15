"""Stream: bytes that are read once, with a way to look at the next ones."""

from __future__ import annotations

from collections.abc import Callable


class Stream:
    """Bytes from a function that returns about as many as it is asked for, and none at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._head = b""

    def read(self, size: int) -> bytes:
        """Return about `size` bytes, at least one; b"" at the end."""
        if not self._head:
            return self._read(size)
        block, self._head = self._head[:size], self._head[size:]
        return block

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes without consuming them, or fewer at the end of the stream."""
        while len(self._head) < size and (block := self._read(size - len(self._head))):
            self._head += block
        return self._head[:size]
