"""Flow control: how many rows make a chunk, how many chunks may be on their way, and whether the broker has room.

`Pace` learns the number of rows per chunk. `Window` bounds the chunks that are sent and not written yet, so that memory
does not grow with the file. `Pressure` stops sending to a broker that is nearly full.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mlq.broker.script import memory_use
from mlq.jobs.chunk import MOST_ROWS, Chunk
from mlq.protocol.job_result import ChunkResult

if TYPE_CHECKING:
    from redis import Redis

_AIM_S: Final = 0.25
"""Seconds per chunk to aim at: long enough for little overhead, short enough for urgent rows and a cancel."""

_FIRST_ROWS: Final = 16
_FIRST_AHEAD: Final = 8
"""Chunks that are sent before the first result shows how long one takes."""

_LARGEST_GROWTH: Final = 4
"""Factor by which the number of rows per chunk grows at most from one result to the next."""

_WEIGHT: Final = 0.3
"""Weight of the latest chunk in the average of seconds per row."""

MOST_CHUNKS: Final = 256
"""Chunks that may be on their way, unless --max-inflight says otherwise."""

MOST_BYTES: Final = 64 * 2**20
"""Bytes that messages and results on their way may take."""

_HIGH: Final = 0.9
"""Share of the server's maxmemory above which nothing is sent; workers and supervisors need the rest."""

_LOOK_EVERY_S: Final = 0.25


class Pace:
    """The number of rows per chunk, learned from the time that chunks take, or fixed by --chunk."""

    def __init__(self, fixed: int | None = None) -> None:
        self._fixed = fixed
        self._row_s: float | None = None
        self.rows = fixed or _FIRST_ROWS

    def ahead(self, limit: int) -> int:
        """Return the number of chunks that may be sent but not collected, up to `limit`."""
        return limit if self._fixed or self._row_s is not None else min(limit, _FIRST_AHEAD)

    def learn(self, rows: int, seconds: float) -> None:
        """Adjust the number of rows after a chunk of `rows` rows that took `seconds`."""
        if rows < 1:
            return
        seen = seconds / rows
        self._row_s = seen if self._row_s is None else self._row_s + _WEIGHT * (seen - self._row_s)
        if not self._fixed:
            wanted = _AIM_S / max(self._row_s, 1e-9)
            self.rows = max(1, min(MOST_ROWS, _LARGEST_GROWTH * self.rows, int(wanted)))


@dataclass
class Sent:
    """A chunk that was sent and is not written to the output yet."""

    chunk: Chunk

    size: int
    """Bytes of its message."""

    end: ChunkResult | None = None
    """Its result, once it has arrived."""

    end_size: int = 0
    """Bytes of its result."""

    entry: bytes = b""
    """The id of its result in the job's stream; empty if no row of the chunk could be sent."""


class Window:
    """The chunks that were sent and are not written yet, in the order of sending.

    The bytes in the window are those of the messages, of the results that have arrived, and an estimate for those that
    have not: a result may be a thousand times as large as its message, and all of them may have to wait for the first.

    Args:
        in_order: Chunks are written in the order of sending, so a result waits for those of earlier chunks.
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
        """Return whether another chunk may be sent, after `chunks` chunks of `size` bytes that are about to be sent."""
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
        """Add a chunk's result; return None if the chunk is not in the window, or has its result already."""
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


class Pressure:
    """Back pressure of the broker: looks regularly whether its memory is nearly full. Without maxmemory it never is."""

    def __init__(self, store: Redis, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._say = say
        self._clock = clock
        self._look_at = 0.0
        self._is_high = False

    def is_high(self) -> bool:
        """Return True if nothing should be sent now. Raises redis.RedisError."""
        if self._clock() >= self._look_at:
            self._become(high=self._is_nearly_full())
        return self._is_high

    def wait(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait until there is room. Raises redis.RedisError."""
        while self.is_high():
            sleep(_LOOK_EVERY_S)

    def refused(self) -> None:
        """Record that the server has refused a message because its memory is full."""
        self._become(high=True)

    def _is_nearly_full(self) -> bool:
        memory = memory_use(self._store)
        if memory is None:  # this user may not run INFO: then a refused message is the only sign of a full server
            return False
        used, limit = memory
        return bool(limit) and used > _HIGH * limit

    def _become(self, *, high: bool) -> None:
        if high and not self._is_high:
            self._say("the broker's memory is nearly full; waiting until there is room, nothing is dropped")
        elif self._is_high and not high:
            self._say("the broker has room again")
        self._is_high = high
        self._look_at = self._clock() + _LOOK_EVERY_S
