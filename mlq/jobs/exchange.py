"""Exchange: sends a job's rows and collects its results at the same time, until both are done or it is interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, Protocol, TypedDict

from mlq.broker.retries import Retry
from mlq.jobs.chunk import Chunk
from mlq.jobs.collect.collector import Collector, JobResults
from mlq.jobs.collect.output import Output
from mlq.jobs.collect.resumption import Held
from mlq.jobs.connections import JobConnections
from mlq.jobs.errors import Interrupted, JobCancelled, TimedOut, TooManyFailed
from mlq.jobs.flow_control import MOST_CHUNKS, Pace, Window
from mlq.jobs.interrupt import Interrupt, Signalled
from mlq.jobs.send.sender import RowSender
from mlq.store.jobs.record import Job

UNSERVED_AFTER_S: Final = 5.0
"""Seconds without a result after which the watcher looks for workers."""

_LOOK_EVERY_S: Final = 1.0
_PAUSE_S: Final = 0.1

_GIVE_UP_S: Final = 10.0
"""Seconds to wait for chunks after a cancel; one that has not ended by then was deleted, or takes too long."""

_COLLECTS_S: Final = 30.0
"""Seconds after the first signal for which results are collected."""

_SILENT_S: Final = 10.0
"""Seconds without a result after which that ends early."""


class _Left(TypedDict):
    """What the errors of a job that did not finish have in common."""

    waiting: int
    rows: int
    command: str


@dataclass(frozen=True)
class WaitLimits:
    """When to stop waiting, and how much may be sent but not collected."""

    timeout_s: float | None = None
    """Seconds for the whole run."""

    failed: int | None = None
    """Rows that may fail in this run."""

    chunks: int = MOST_CHUNKS
    """Chunks that may be sent and not collected."""


@dataclass(frozen=True)
class RunOptions:
    """How to send and collect."""

    priority: int | None = None

    chunk_rows: int | None = None
    """Rows per chunk; None: learned."""

    in_order: bool = True
    """Write the lines in the order of the input."""

    limits: WaitLimits = field(default_factory=WaitLimits)

    command: str = ""
    """The command that continues after an interruption."""


class Watcher(Protocol):
    """Receives the progress of a job."""

    def advance(self, done: int, failed: int) -> None:
        """Report the number of rows that have a line in the output."""

    def unserved(self) -> None:
        """Report that no result has arrived for a while."""

    def say(self, text: str) -> None:
        """Show a message to the user."""


class Exchange:
    """One run of `submit --wait` or `result --wait`.

    Args:
        connections: The servers of records, queues and results.
        job: The job.
        output: Where the lines go.
        options: How to send and collect.
        watcher: Receives the progress.
        interrupt: Whether a signal has asked to stop.
        held: The rows that the output of an earlier run has.
        answered_by: Called with the fingerprint of the model each time that it changes.
        clock: Returns seconds on a clock that never goes back.
        sleep: Waits for a number of seconds.

    Raises:
        NoResults, UnreadableResults: No results are kept, or mlq cannot read them.
    """

    def __init__(  # noqa: PLR0913 (what a run needs; each is one thing)
        self,
        connections: JobConnections,
        job: Job,
        output: Output,
        options: RunOptions,
        watcher: Watcher,
        interrupt: Interrupt,
        *,
        held: Held | None = None,
        answered_by: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._job, self._options, self._limits = job, options, options.limits
        self._output, self._watcher, self._interrupt = output, watcher, interrupt
        self._clock, self._sleep = clock, sleep
        self.retry = Retry(watcher.say, self._check_stop)
        self.results = JobResults(connections.store, connections.results(), job.id, self.retry)
        self._window, self._pace = Window(in_order=options.in_order), Pace(options.chunk_rows)
        self._collector = Collector(
            self.results,
            self._window,
            output,
            self._pace,
            single=job.kind == "single",
            held=held,
            answered_by=answered_by,
        )
        self._sender: RowSender | None = None
        self._pending_rows = 0
        self._began = self._look_at = clock()
        self._unserved_at = self._began + UNSERVED_AFTER_S
        self._cancelled = False
        self._interrupted_at: float | None = None
        self._done_before = output.done

    @property
    def failures(self) -> tuple[int, ...]:
        """Indexes of the rows that failed in this run, in ascending order."""
        return tuple(sorted(self._collector.failures))

    def run(self, pending: Collection[Chunk], sender: RowSender | None = None) -> None:
        """Send and collect until every row has a line in the output.

        Args:
            pending: Chunks that were sent before and are not written yet.
            sender: Sends the other rows; None if all were sent.

        Raises TimedOut, Interrupted, JobCancelled, TooManyFailed, JobTaken, and Signalled after the second signal. The
        answers that arrived before that are written.
        """
        self._sender, self._pending_rows = sender, sum(map(len, pending))
        for chunk in pending:
            self._collector.sent(chunk, 0)
        try:
            while self._turn():
                self._watcher.advance(self._output.done, self._output.failed)
        except Signalled:
            self._watcher.say(f"no row is lost: `{self._options.command}` continues")
            raise
        finally:
            self._watcher.advance(self._output.done, self._output.failed)
        if self._cancelled or self._collector.is_revoked:
            raise JobCancelled(job=self._job.id, **self._left())
        if self._is_over_limit:
            raise TooManyFailed(
                failed=len(self._collector.failures),
                limit=self._limits.failed,
                fix=f"`{self._options.command}` continues",
            )
        if sender is not None and not sender.has_read_all:
            raise Interrupted(**self._left())

    def _check_stop(self) -> None:
        """Check the clock and the signals; called while Redis is away, too. Raises TimedOut, Interrupted."""
        if self._limits.timeout_s is not None and self._clock() - self._began > self._limits.timeout_s:
            raise TimedOut(seconds=self._limits.timeout_s, **self._left())
        if not self._interrupt.requested:
            return
        if self._sender is None:  # results that have not arrived stay in Redis
            raise Interrupted(**self._left())
        now = self._clock()
        if self._interrupted_at is None:
            self._interrupted_at = now
            self._sender.stop()
            self._watcher.say(self._describe_rest())
        waits_s = now - self._interrupted_at
        if waits_s > _COLLECTS_S or min(waits_s, self._collector.idle_s) > _SILENT_S:
            raise Interrupted(**self._left())

    def _describe_rest(self) -> str:
        """Describe what remains to be collected after a first signal, and the time for it at the current pace."""
        rows = sum(len(sent.chunk) for sent in self._window if sent.end is None)
        done, elapsed_s = self._output.done - self._done_before, self._clock() - self._began
        pace = f", about {rows * elapsed_s / done:.0f} s at {done / elapsed_s:.0f} rows/s" if done and elapsed_s else ""
        return (
            f"sending no more; {rows} rows are on their way{pace}; collecting them for up to {_COLLECTS_S:.0f} s "
            "(a second signal ends at once)"
        )

    def _turn(self) -> bool:
        """Send and collect once; return False when nothing is left to do."""
        self._check_stop()
        self._look()
        sender = self._sender
        if sender is not None and (self._cancelled or self._is_over_limit):
            sender.stop()
        sent = sender is not None and sender.step(self._pace.rows, self._has_room, self._collector.sent)
        is_sending = sender is not None and not sender.is_done
        if not is_sending and not len(self._window):
            return False
        if self._cancelled and self._collector.idle_s > _GIVE_UP_S:
            return False
        if not self._collector.step(wait=not sent) and not sent and not self._window.waiting:
            self._sleep(_PAUSE_S)  # the broker is full, and there is nothing to collect that would make room
        return True

    def _has_room(self, chunks: int, size: int) -> bool:
        """Return whether another chunk may be made, after `chunks` chunks of `size` bytes that are not sent yet."""
        return self._window.has_room(self._pace.ahead(self._limits.chunks), chunks, size)

    @property
    def _is_over_limit(self) -> bool:
        """Whether too many rows have failed in this run. Earlier failures do not count, or no run could continue."""
        return self._limits.failed is not None and len(self._collector.failures) > self._limits.failed

    def _look(self) -> None:
        """Check regularly whether the job was cancelled or taken over, and for workers if no result arrives."""
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        self._cancelled = self._cancelled or self.results.are_cancelled()
        self.results.demand_ours()
        if self._collector.idle_s >= UNSERVED_AFTER_S and now >= self._unserved_at:
            self._watcher.unserved()
            self._unserved_at = now + UNSERVED_AFTER_S

    def _left(self) -> _Left:
        rows = self._pending_rows if self._sender is None else self._job.rows or self._sender.taken
        return {"waiting": max(0, rows - self._output.done), "rows": rows, "command": self._options.command}
