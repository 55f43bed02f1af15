"""Window: chunks that are sent and not written yet; bounded, so that neither side's memory grows with the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mlq.broker.filing import End
from mlq.jobs.chunk import Chunk

MOST_CHUNKS: Final = 256
MOST_BYTES: Final = 64 * 2**20


@dataclass
class Sent:
    """A chunk on its way; `entry` names its end in the job's stream, once it has come."""

    chunk: Chunk
    size: int
    end: End | None = None
    entry: bytes = b""


class Window:
    """What is on its way, the earliest first. `in_order`: what comes early waits for those before it."""

    def __init__(self, *, in_order: bool) -> None:
        self._in_order = in_order
        self._sent: dict[int, Sent] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._sent)

    def __iter__(self) -> Iterator[Sent]:
        return iter(self._sent.values())

    def has_room(self, most: int, chunks: int = 0, size: int = 0) -> bool:
        """Tell whether another chunk may be sent, behind so many (of so many bytes) that are about to be."""
        return len(self._sent) + chunks < most and self._size + size < MOST_BYTES

    @property
    def waiting(self) -> int:
        """How many chunks have no end yet."""
        return sum(1 for s in self._sent.values() if s.end is None)

    def add(self, chunk: Chunk, size: int) -> None:
        """Put a chunk in that was sent."""
        self._sent[chunk.number] = Sent(chunk, size)
        self._size += size

    def ended(self, number: int, end: End, entry: bytes) -> Sent | None:
        """Take in an end; None if its chunk is not on its way, or has ended before."""
        sent = self._sent.get(number)
        if sent is None or sent.end is not None:
            return None
        sent.end, sent.entry = end, entry
        return sent

    def take(self) -> list[Sent]:
        """Take out what can be written now."""
        ready: list[Sent] = []
        for sent in self._sent.values():
            if sent.end is not None:
                ready.append(sent)
            elif self._in_order:
                break
        for sent in ready:
            del self._sent[sent.chunk.number]
            self._size -= sent.size
        return ready
