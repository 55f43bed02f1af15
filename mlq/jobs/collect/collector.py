"""Collecting: ends of chunks into the output, taken out of Redis once they are written."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

from mlq.jobs.chunk import Chunk
from mlq.jobs.collect.output import Output
from mlq.jobs.collect.output_lines import write
from mlq.jobs.collect.results import JobResults
from mlq.jobs.collect.resumption import Held
from mlq.jobs.send.pace import Pace
from mlq.jobs.send.window import Sent, Window
from mlq.protocol.job_result import ChunkResult


class Collector:
    """Collects a job. `held` is what its output has from before; `answered_by` is told a model's fingerprint."""

    def __init__(
        self,
        ends: JobResults,
        window: Window,
        output: Output,
        pace: Pace,
        *,
        single: bool,
        held: Held | None = None,
        answered_by: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ends = ends
        self._window = window
        self._output = output
        self._pace = pace
        self._single = single
        self._held = held
        self._answered_by = answered_by
        self._model: str | None = None
        self._last = time.monotonic()
        self.is_revoked = False
        self.failures = array("q")

    @property
    def idle_s(self) -> float:
        """Seconds since the last end came."""
        return time.monotonic() - self._last

    def sent(self, chunk: Chunk, size: int) -> None:
        """Wait for a chunk; one without rows that can be sent has ended."""
        self._window.add(chunk, size)
        if not chunk.sent:
            self._window.ended(chunk.number, ChunkResult("SUCCESS"), b"")

    def step(self, *, wait: bool) -> bool:
        """Take in what has come, with `wait` for a moment what will; tell whether anything was."""
        came = self._ends.read(wait=wait) if self._window.waiting else []
        for entry, number, end, size in came:
            sent = self._window.ended(number, end, entry, size)
            if sent is None:
                self._ends.drop(entry)
            else:
                self._learn(sent, end, len(came))
        if came:
            self._last = time.monotonic()
        written = self._window.take()
        for sent in written:
            self._write(sent)
        if written:
            self._output.flush()
            self._ends.confirm(written)
        return bool(came or written)

    def _learn(self, sent: Sent, end: ChunkResult, came: int) -> None:
        self.is_revoked = self.is_revoked or end.status == "REVOKED"
        if end.status == "SUCCESS":
            # Where a worker does not say what a chunk took, the time since the last is as good a guess.
            self._pace.learn(sent.chunk.sent, self.idle_s / came if end.seconds is None else end.seconds)
        if end.model is not None and end.model != self._model:
            self._model = end.model
            self._answered_by(end.model)

    def _write(self, sent: Sent) -> None:
        assert sent.end is not None  # noqa: S101 (the window gives what has ended)
        held = self._held
        there = frozenset(i for i in sent.chunk.indexes if held.is_ok(i)) if held else frozenset[int]()
        written = write(sent.chunk, sent.end, single=self._single, leave_out=there)
        if held is not None:
            self._output.failed -= sum(1 for i in sent.chunk.indexes if held.has(i) and i not in there)
            for index in sent.chunk.indexes:
                if index not in there:
                    held.add(index, ok=index not in written.failed)
        self._output.add(written)
        self.failures.extend(written.failed)
