"""Collector: reads the results of a job's chunks, writes them to the output, and then removes them from Redis."""

from __future__ import annotations

import secrets
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from mlq.broker.retries import ReplySize, Retry
from mlq.errors import NoSuchJob
from mlq.jobs import chunk as chunks
from mlq.jobs.chunk import Chunk
from mlq.jobs.collect.output import Output
from mlq.jobs.collect.resumption import Held
from mlq.jobs.errors import JobTaken, UnsendableEnd
from mlq.jobs.flow_control import Pace, Sent, Window
from mlq.protocol import job_result
from mlq.protocol.job_result import ChunkResult
from mlq.store.errors import BrokenRecord
from mlq.store.jobs import job_results, record
from mlq.store.jobs.job_results import StreamEntry

if TYPE_CHECKING:
    from redis import Redis

_NO_CHUNK: Final = -1
"""The number of an entry that names no chunk. No chunk has this number, so the entry is dropped."""

_AT_ONCE: Final = 16
"""Results in one reply."""

_BYTES_AT_ONCE: Final = 8 * 2**20
"""Bytes of results in one reply. A result may have megabytes."""

BLOCK_MS: Final = 1000
"""Milliseconds to wait for a result; well below the time after which a silent server counts as frozen."""


class JobResults:
    """The results of a job's chunks in Redis. One process collects them at a time: the last that called `begin`."""

    def __init__(self, store: Redis, results: Redis, job_id: str, insist: Retry) -> None:
        self._insist = insist
        self._store = store
        self._results = results
        self._job_id = job_id
        self._last: bytes = b"0"
        self._count = 1  # until the size of a result is known
        self._size = ReplySize(_AT_ONCE)
        self._collector = secrets.token_hex(8)

    def begin(self) -> None:
        """Become the job's collector."""
        self._insist(lambda: record.become_collector(self._store, self._job_id, self._collector))

    def demand_ours(self) -> None:
        """Check that no other process collects. Raises JobTaken, NoSuchJob if Redis has lost the job's record."""
        now = self._insist(lambda: record.collector(self._store, self._job_id))
        if now is None:
            raise NoSuchJob(id=self._job_id)
        if now != self._collector.encode():
            raise JobTaken(id=self._job_id)

    def are_cancelled(self) -> bool:
        """Return True if the job was cancelled."""
        return self._insist(lambda: record.is_cancelled(self._store, self._job_id))

    def read(self, *, wait: bool) -> list[tuple[bytes, int, ChunkResult, int]]:
        """Return the next results, each with its entry, the number of its chunk and its bytes.

        With `wait`, wait up to BLOCK_MS for one. Of large results fewer are read at once, because a reply is in memory
        twice.
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
        """Yield the chunks that were sent and are in no output yet, in the order of sending. Raises BrokenRecord."""
        found = record.uncollected_chunks(self._store, self._job_id)
        try:
            numbers = sorted(map(int, found))
            yield from (chunks.decode(number, found[str(number).encode()]) for number in numbers)
        except (ValueError, KeyError) as exc:
            raise BrokenRecord(job=self._job_id, reason=exc) from None


def _number(fields: Mapping[bytes, bytes]) -> int:
    said = fields.get(b"chunk", b"")
    return int(said) if said.isdigit() and len(said) <= len(str(job_result.MOST_CHUNKS)) else _NO_CHUNK


class Collector:
    """Collects a job.

    Args:
        results: The results in Redis.
        window: The chunks that were sent and are not written yet.
        output: Where the lines go.
        pace: Learns from the time that chunks take.
        single: The job is one row for mlq.predict.
        held: The rows that the output of an earlier run has.
        answered_by: Called with the fingerprint of the model each time that it changes.
    """

    def __init__(
        self,
        results: JobResults,
        window: Window,
        output: Output,
        pace: Pace,
        *,
        single: bool,
        held: Held | None = None,
        answered_by: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._results = results
        self._window = window
        self._output = output
        self._pace = pace
        self._single = single
        self._held = held
        self._answered_by = answered_by
        self._model: str | None = None
        self._last = time.monotonic()
        self.is_revoked = False
        #: Indexes of the rows that failed in this run.
        self.failures = array("q")

    @property
    def idle_s(self) -> float:
        """Seconds since the last result arrived."""
        return time.monotonic() - self._last

    def sent(self, chunk: Chunk, size: int) -> None:
        """Expect the result of a chunk; a chunk of which no row was sent has ended."""
        self._window.add(chunk, size)
        if not chunk.sent:
            self._window.ended(chunk.number, ChunkResult("SUCCESS"), b"")

    def step(self, *, wait: bool) -> bool:
        """Read and write the results that have arrived; with `wait`, wait for some. Return whether there were any."""
        came = self._results.read(wait=wait) if self._window.waiting else []
        for entry, number, end, size in came:
            sent = self._window.ended(number, end, entry, size)
            if sent is None:
                self._results.drop(entry)
            else:
                self._learn(sent, end, len(came))
        if came:
            self._last = time.monotonic()
        written = self._window.take()
        for sent in written:
            self._write(sent)
        if written:
            self._output.flush()
            self._results.confirm(written)
        return bool(came or written)

    def _learn(self, sent: Sent, end: ChunkResult, came: int) -> None:
        self.is_revoked = self.is_revoked or end.status == "REVOKED"
        if end.status == "SUCCESS":
            # If the worker does not say how long a chunk took, the time since the last result is an estimate.
            self._pace.learn(sent.chunk.sent, self.idle_s / came if end.seconds is None else end.seconds)
        if end.model is not None and end.model != self._model:
            self._model = end.model
            self._answered_by(end.model)

    def _write(self, sent: Sent) -> None:
        assert sent.end is not None  # noqa: S101 (the window returns chunks that have ended)
        held = self._held
        answered = frozenset(i for i in sent.chunk.indexes if held.is_ok(i)) if held else frozenset[int]()
        failed = self._output.add(sent.chunk, sent.end, single=self._single, leave_out=answered)
        if held is not None:
            self._output.failed -= sum(1 for i in sent.chunk.indexes if held.has(i) and i not in answered)
            for index in sent.chunk.indexes:
                if index not in answered:
                    held.add(index, ok=index not in failed)
        self.failures.extend(failed)
