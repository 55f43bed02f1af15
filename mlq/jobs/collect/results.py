"""Results: the stream of a job's results, which its collector reads and empties as the output grows."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from mlq.broker.retries import ReplySize, Retry
from mlq.errors import NoSuchJob
from mlq.jobs import chunk as chunks
from mlq.jobs.chunk import Chunk
from mlq.jobs.errors import JobTaken, UnsendableEnd
from mlq.jobs.send.window import Sent
from mlq.protocol import job_result
from mlq.protocol.job_result import ChunkResult
from mlq.store.errors import BrokenRecord
from mlq.store.jobs import job_results, record
from mlq.store.jobs.job_results import StreamEntry

if TYPE_CHECKING:
    from redis import Redis

_NO_CHUNK: Final = -1
"""The number of an entry that names no chunk. No chunk has it, so the entry is dropped like that of a stranger."""

_AT_ONCE: Final = 16
_BYTES_AT_ONCE: Final = 8 * 2**20
"""A reply holds no more: an end may be megabytes."""

BLOCK_MS: Final = 1000
"""Well below the time after which a silent server is taken for frozen."""


class JobResults:
    """The ends of one job's chunks. One process collects at a time: the last that asked."""

    def __init__(self, store: Redis, results: Redis, job_id: str, insist: Retry) -> None:
        self._insist = insist
        self._store = store
        self._results = results
        self._job_id = job_id
        self._last: bytes = b"0"
        self._count = 1  # until it is known how large they are
        self._size = ReplySize(_AT_ONCE)
        self._collector = secrets.token_hex(8)

    def begin(self) -> None:
        """Become the job's collector."""
        self._insist(lambda: record.become_collector(self._store, self._job_id, self._collector))

    def demand_ours(self) -> None:
        """Check that nobody else collects. Raises JobTaken, NoSuchJob where Redis has lost the job's record."""
        now = self._insist(lambda: record.collector(self._store, self._job_id))
        if now is None:
            raise NoSuchJob(id=self._job_id)
        if now != self._collector.encode():
            raise JobTaken(id=self._job_id)

    def are_cancelled(self) -> bool:
        """Return True if the job was cancelled."""
        return self._insist(lambda: record.is_cancelled(self._store, self._job_id))

    def read(self, *, wait: bool) -> list[tuple[bytes, int, ChunkResult, int]]:
        """Give the next ends: entry, chunk number, end, its bytes; with `wait`, wait a while for one.

        Where they are large, fewer are read at once: all of a reply is in memory twice.
        """
        block_ms = BLOCK_MS if wait else None
        entries = self._insist(lambda: self._ask(block_ms))
        if not entries:
            return []
        self._last = entries[-1][0]
        entries = [(entry, {b"end": b"", **fields}) for entry, fields in entries]
        largest = max(len(fields[b"end"]) for _, fields in entries)
        self._count = max(1, min(_AT_ONCE, _BYTES_AT_ONCE // max(1, largest)))
        return [
            (entry, _number(fields), job_result.read(fields[b"end"]), len(fields[b"end"])) for entry, fields in entries
        ]

    def _ask(self, block_ms: int | None) -> list[StreamEntry]:
        count = min(self._count, self._size.count)
        try:
            entries = job_results.read(self._results, self._job_id, self._last, count=count, block_ms=block_ms)
        except RedisError as exc:
            if self._size.failed(exc):
                raise UnsendableEnd(job=self._job_id) from exc
            raise
        self._size.fitted()
        return entries

    def confirm(self, written: Sequence[Sent]) -> None:
        """Delete the results that are in the output now."""
        entries = [s.entry for s in written if s.entry]
        if entries:
            self._insist(lambda: job_results.drop(self._results, self._job_id, entries))
        if written:
            numbers = [s.chunk.number for s in written]
            self._insist(lambda: record.forget_chunks(self._store, self._job_id, numbers))

    def drop(self, entry: bytes) -> None:
        """Delete a result of a chunk that is not in the window."""
        self._insist(lambda: job_results.drop(self._results, self._job_id, [entry]))

    def uncollected(self) -> Iterator[Chunk]:
        """Give the chunks that were sent and are not in any output yet, in the order of sending."""
        found = record.uncollected_chunks(self._store, self._job_id)
        try:
            numbers = sorted(map(int, found))
            yield from (chunks.decode(number, found[str(number).encode()]) for number in numbers)
        except (ValueError, KeyError) as exc:
            raise BrokenRecord(job=self._job_id, reason=exc) from None


def _number(fields: Mapping[bytes, bytes]) -> int:
    said = fields.get(b"chunk", b"")
    return int(said) if said.isdigit() and len(said) <= len(str(job_result.MOST_CHUNKS)) else _NO_CHUNK
