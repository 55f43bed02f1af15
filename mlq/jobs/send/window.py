"""Window: chunks that are sent but not yet written, limited so that memory does not grow with the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mlq.jobs.chunk import Chunk
from mlq.protocol.job_result import ChunkResult

MOST_CHUNKS: Final = 256
MOST_BYTES: Final = 64 * 2**20


@dataclass
class Sent:
    """A chunk on its way; `entry` names its end in the job's stream, once it has come."""

    chunk: Chunk
    size: int
    end: ChunkResult | None = None
    end_size: int = 0
    entry: bytes = b""


class Window:
    """What is on its way, the earliest first. `in_order`: what comes early waits for those before it.

    Its bytes are those of messages and of answers that have come, and what answers of the size seen so far will add:
    answers may be a thousand times as large as what they answer, and all of them may have to wait for the first.
    """

    def __init__(self, *, in_order: bool) -> None:
        self._in_order = in_order
        self._sent: dict[int, Sent] = {}
        self._size = 0
        self._ended = 0
        self._largest_end = 0

    def __len__(self) -> int:
        return len(self._sent)

    def __iter__(self) -> Iterator[Sent]:
        return iter(self._sent.values())

    def has_room(self, most: int, chunks: int = 0, size: int = 0) -> bool:
        """Tell whether another chunk may be sent, behind so many (of so many bytes) that are about to be."""
        if not self._sent and not chunks:
            return most > 0
        coming = (self.waiting + chunks) * self._largest_end
        return len(self._sent) + chunks < most and self._size + size + coming < MOST_BYTES

    @property
    def waiting(self) -> int:
        """The number of chunks without a result."""
        return len(self._sent) - self._ended

    def add(self, chunk: Chunk, size: int) -> None:
        """Add a chunk that was sent."""
        self._sent[chunk.number] = Sent(chunk, size)
        self._size += size

    def ended(self, number: int, end: ChunkResult, entry: bytes, size: int = 0) -> Sent | None:
        """Add a chunk's result; None if the chunk is not in the window, or has its result already."""
        sent = self._sent.get(number)
        if sent is None or sent.end is not None:
            return None
        sent.end, sent.entry, sent.end_size = end, entry, size
        self._size += size
        self._ended += 1
        self._largest_end = max(self._largest_end, size)
        return sent

    def take(self) -> list[Sent]:
        """Remove and return the chunks that can be written now."""
        ready: list[Sent] = []
        for sent in self._sent.values():
            if sent.end is not None:
                ready.append(sent)
            elif self._in_order:
                break
        for sent in ready:
            del self._sent[sent.chunk.number]
            self._size -= sent.size + sent.end_size
            self._ended -= 1
        return ready
