"""Exchange: sends a job's rows and collects its results at the same time, until both are done or it is interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypedDict

from mlq.jobs.collect.collector import Collector
from mlq.jobs.collect.output import Output
from mlq.jobs.errors import Interrupted, JobCancelled, TimedOut, TooManyFailed
from mlq.jobs.interrupt import Halt, Signalled
from mlq.jobs.send import window as windows
from mlq.jobs.send.pace import Pace
from mlq.jobs.send.sender import Sender
from mlq.jobs.send.window import Window

UNSERVED_AFTER_S: Final = 5.0
_LOOK_EVERY_S: Final = 1.0
_PAUSE_S: Final = 0.1

_GIVE_UP_S: Final = 10.0
"""Seconds to wait for chunks after a cancel; one that has not ended by then was deleted, or takes too long."""

_COLLECTS_S: Final = 30.0
_STILL_S: Final = 10.0
"""After the first signal answers are collected for _COLLECTS_S, while the last one is not older than _STILL_S."""


class _Left(TypedDict):
    """What the errors of a job that did not finish have in common."""

    waiting: int
    rows: int
    command: str


@dataclass(frozen=True)
class WaitLimits:
    """When to stop waiting, and how much may be sent but not collected."""

    timeout_s: float | None = None
    failed: int | None = None
    chunks: int = windows.MOST_CHUNKS


class Watcher(Protocol):
    """Receives the progress of a job."""

    def advance(self, done: int, failed: int) -> None:
        """Report the number of rows that have a line in the output."""

    def unserved(self) -> None:
        """Report that no result has arrived for a while."""

    def say(self, text: str) -> None:
        """Show a message to the user."""


@dataclass
class Exchange:
    """One run. `sender` is None where only answers are wanted; `rows` are those of the job, as far as is known.

    `is_cancelled` and `demand_ours` look into Redis; `command` goes on with what is left.
    """

    job_id: str
    sender: Sender | None
    collector: Collector
    window: Window
    pace: Pace
    output: Output
    limits: WaitLimits
    halt: Halt
    watcher: Watcher
    rows: Callable[[], int]
    is_cancelled: Callable[[], bool]
    demand_ours: Callable[[], None]
    command: str
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._began = self._look_at = self.clock()
        self._unserved_at = self._began + UNSERVED_AFTER_S
        self._cancelled = False
        self._asked_at: float | None = None
        self._before = self.output.done

    def run(self) -> None:
        """Send and collect until every row has a line in the output.

        Raises TimedOut, Interrupted, JobCancelled, TooManyFailed, JobTaken, and Signalled after the second signal; what
        is answered by then is written.
        """
        try:
            while self._turn():
                self.watcher.advance(self.output.done, self.output.failed)
        except Signalled:
            self.watcher.say(f"no row is lost: `{self.command}` continues")
            raise
        finally:
            self.watcher.advance(self.output.done, self.output.failed)
        if self._cancelled or self.collector.is_revoked:
            raise JobCancelled(job=self.job_id, **self._left())
        if self._is_over_limit:
            raise TooManyFailed(
                failed=len(self.collector.failures), limit=self.limits.failed, fix=f"`{self.command}` continues"
            )
        if self.sender is not None and not self.sender.has_read_all:
            raise Interrupted(**self._left())

    def demand_patience(self) -> None:
        """Check the clock and the signals; called while Redis is away, too. Raises TimedOut, Interrupted."""
        if self.limits.timeout_s is not None and self.clock() - self._began > self.limits.timeout_s:
            raise TimedOut(seconds=self.limits.timeout_s, **self._left())
        if not self.halt.asked:
            return
        if self.sender is None:  # a collector leaves results that have not arrived in Redis
            raise Interrupted(**self._left())
        now = self.clock()
        if self._asked_at is None:
            self._asked_at = now
            self.sender.stop()
            self.watcher.say(self._on_its_way())
        waits_s = now - self._asked_at
        if waits_s > _COLLECTS_S or min(waits_s, self.collector.idle_s) > _STILL_S:
            raise Interrupted(**self._left())

    def _on_its_way(self) -> str:
        """Describe what remains to be collected after a first signal, and the time for it at the current pace."""
        rows = sum(len(sent.chunk) for sent in self.window if sent.end is None)
        done, elapsed_s = self.output.done - self._before, self.clock() - self._began
        pace = f", about {rows * elapsed_s / done:.0f} s at {done / elapsed_s:.0f} rows/s" if done and elapsed_s else ""
        return (
            f"sending no more; {rows} rows are on their way{pace}; collecting them for up to {_COLLECTS_S:.0f} s "
            "(a second signal ends at once)"
        )

    def _turn(self) -> bool:
        """Send and collect once; False when nothing is left to do."""
        self.demand_patience()
        self._look()
        sender = self.sender
        if sender is not None and (self._cancelled or self._is_over_limit):
            sender.stop()
        sent = sender is not None and sender.step(self.pace.rows, self._has_room, self.collector.sent)
        is_sending = sender is not None and not sender.is_done
        if not is_sending and not len(self.window):
            return False
        if self._cancelled and self.collector.idle_s > _GIVE_UP_S:
            return False
        if not self.collector.step(wait=not sent) and not sent and not self.window.waiting:
            self.sleep(_PAUSE_S)  # the broker is full, and there is nothing to collect that would make room
        return True

    def _has_room(self, chunks: int, size: int) -> bool:
        """Tell whether one more may be made, beside those that are made and not sent yet."""
        return self.window.has_room(self.pace.ahead(self.limits.chunks), chunks, size)

    @property
    def _is_over_limit(self) -> bool:
        """Of this run: who goes on after the cause was mended must get past the failures of before."""
        return self.limits.failed is not None and len(self.collector.failures) > self.limits.failed

    def _look(self) -> None:
        """Check regularly whether the job was cancelled or taken over, and for workers if no result arrives."""
        now = self.clock()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        self._cancelled = self._cancelled or self.is_cancelled()
        self.demand_ours()
        if self.collector.idle_s >= UNSERVED_AFTER_S and now >= self._unserved_at:
            self.watcher.unserved()
            self._unserved_at = now + UNSERVED_AFTER_S

    def _left(self) -> _Left:
        rows = self.rows()
        return {"waiting": max(0, rows - self.output.done), "rows": rows, "command": self.command}
