"""The activity of a worker: what it does now and has done so far, and what depends on it.

`Activity` is the source of the report to the supervisor, `TurnStats` counts turns for it, `Recycling` decides when the
process has done enough, and `StartedStates` stores STARTED for tasks that run for a while.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from celery import signals
from redis.exceptions import RedisError

from mlq import __version__
from mlq.engine.celery.pool import stop_worker
from mlq.exit_codes import ExitCode
from mlq.ipc.shared_pages import RunningTask, WorkerReport
from mlq.model.failure import DeviceLost
from mlq.protocol.keys import queue_of
from mlq.protocol.names import JOB_HEADER

if TYPE_CHECKING:
    from mlq.engine.micro_batches import ModelRequest
    from mlq.engine.rejection import MakeAnswer
    from mlq.engine.shares import Shares
    from mlq.protocol.message import Message
    from mlq.store.claims.claims import Claims

log = logging.getLogger("mlq.worker")


_LOOKED_EVERY_S: Final = 1.0
"""Seconds between two reports that the worker asked for work: it asks with each message."""


class Activity:
    """Keeps a WorkerReport up to date, and calls `changed` with it.

    Each attribute is replaced as a whole, so a thread that reads it sees the old value or the new one.
    """

    def __init__(self, changed: Callable[[WorkerReport], None], recycling: Recycling) -> None:
        self.report = WorkerReport(since=time.time(), version=__version__)
        self.device_error: DeviceLost | None = None
        self.results_error: Exception | None = None
        self.recycled = False
        self._recycling = recycling
        self._changed = changed
        self._began_at = 0.0
        self._in_batch = False

    def connect(self) -> None:
        """Follow Celery's signals."""
        signals.worker_ready.connect(self._ready, weak=False)
        signals.worker_shutting_down.connect(self._draining, weak=False)
        signals.task_prerun.connect(self._task_began, weak=False)
        signals.task_postrun.connect(self._task_ended, weak=False)

    def publish(self) -> None:
        """Publish the present report."""
        self._changed(self.report)

    def report_model(self, fingerprint: str | None, max_batch_size: int) -> None:
        """Report that the model is loaded."""
        self.report.fingerprint, self.report.max_batch_size = fingerprint, max_batch_size
        self._changed(self.report)

    def report_lease(self) -> None:
        """Report that there is a lease, which has to be renewed from now on."""
        self.report.leased = True
        self._changed(self.report)

    def report_lease_end(self) -> None:
        """Report that the lease is about to be given back: if it is missing from now on, it was not lost."""
        self.report.leased = False
        self._changed(self.report)

    def report_look(self) -> None:
        """Report that the worker asked for work, at most once a second."""
        now = time.monotonic()
        if now - self.report.looked_at >= _LOOKED_EVERY_S:
            self.report.looked_at = now
            self._changed(self.report)

    def report_rate_limits(self, rate_limits: dict[str, str]) -> None:
        """Report the tasks that have a rate limit: their messages may wait while this worker is idle."""
        self.report.rate_limits = rate_limits
        self._changed(self.report)

    def count_task(self, name: str, queue: str) -> None:
        """Count a task that has ended."""
        self.report.tasks_done += 1
        self.report.totals[name] = self.report.totals.get(name, 0) + 1
        self.report.done[queue] = self.report.done.get(queue, 0) + 1

    def count_rows(self, rows: int) -> None:
        """Count rows that were answered."""
        self.report.rows_done += rows

    def count_forward(self, rows: int, seconds: float) -> None:
        """Count a turn that was a single forward."""
        sums = (1, rows, seconds, rows * rows, rows * seconds, seconds * seconds)
        self.report.forwards = [a + b for a, b in zip(self.report.forwards, sums, strict=True)]

    def device_lost(self, reason: DeviceLost) -> None:
        """Stop claiming, because the device failed; the process ends after the running message, and is replaced."""
        log.error(
            "the device failed, and this process cannot use it again: %s", reason, extra={"action": "device_lost"}
        )
        self.device_error = reason
        stop_worker(ExitCode.DONE)

    def results_lost(self, reason: Exception) -> None:
        """Stop claiming, because no result can be stored; claims go back to their queues, and the process ends."""
        self.results_error = reason
        stop_worker(ExitCode.DONE)

    @property
    def is_ending(self) -> bool:
        """Whether nothing more may run here, because the device or the result backend failed."""
        return self.device_error is not None or self.results_error is not None

    def _ready(self, **_: Any) -> None:
        self._become("idle")

    def _draining(self, **_: Any) -> None:
        self._become("draining")

    def batch_began(self, tasks: Sequence[RunningTask]) -> None:
        """Report that a batch of these tasks runs. It includes those of them that Celery runs."""
        self._in_batch = True
        self._began(tasks)

    def batch_ended(self) -> None:
        """Report that the batch has ended."""
        self._in_batch = False
        self._ended()

    def _began(self, tasks: Sequence[RunningTask]) -> None:
        self._began_at = time.monotonic()
        self.report.task, self.report.running = tasks[0].id, list(tasks)
        self._become("busy")

    def _ended(self) -> None:
        self.report.task, self.report.running = None, []
        self.report.busy_s += time.monotonic() - self._began_at
        self._become("idle")
        reason = self._recycling.reason(self.report.tasks_done)
        if reason is not None and not self.recycled:
            log.info("this worker ends, to be replaced: %s", reason, extra={"action": "worker_recycled"})
            self.recycled = True
            stop_worker(ExitCode.DONE)

    def _task_began(self, task_id: str, task: Any = None, **_: Any) -> None:
        if not self._in_batch:
            place = getattr(task.request, JOB_HEADER, None)
            running = RunningTask(task_id, task.name, _queue_of(task), time.time(), not task.acks_late, place)
            self._began([running])

    def _task_ended(self, task: Any = None, **_: Any) -> None:
        self.count_task(task.name, _queue_of(task))
        if not self._in_batch:
            self._ended()

    def _become(self, new: str) -> None:
        if self.report.state not in {"draining", new}:
            self.report.state, self.report.since = new, time.time()
        self._changed(self.report)


def _queue_of(task: Any) -> str:
    delivery: Mapping[str, Any] = task.request.delivery_info or {}
    return str(delivery.get("routing_key") or "")


_QUICK_S: Final = 0.25
"""If turns take longer than these seconds, no batch is staged ahead: an idle worker could run it sooner."""


class TurnStats:
    """Statistics of turns: counts device time of each forward for its queue, and the rows of each turn."""

    def __init__(self, shares: Shares, activity: Activity, max_batch_size: int) -> None:
        self._turn_s = 0.0
        self._shares = shares
        self._activity = activity
        self._max_batch_size = max_batch_size
        self._rows = 0

    @property
    def turns_are_quick(self) -> bool:
        """True if recent turns were short (exponentially weighted mean below 250 ms), so a batch may be prefetched."""
        return self._turn_s < _QUICK_S

    def add_forward(self, message: ModelRequest, seconds: float) -> None:
        """Add the time of a forward to its queue, at once: a turn may last as long as more urgent rows keep coming."""
        self._shares.used(queue_of(message.message.claim.queue_key), seconds)

    def count_rows(self, rows: int) -> None:
        """Count rows of this turn."""
        self._rows += rows

    def end_turn(self, seconds: float) -> None:
        """Count a turn that has ended, with its seconds and its rows."""
        rows, self._rows = self._rows, 0
        self._turn_s = 0.5 * (self._turn_s + seconds)
        self._activity.count_rows(rows)
        if 0 < rows <= self._max_batch_size:
            self._activity.count_forward(rows, seconds)


_MEMORY_EVERY_S: Final = 1.0
"""Seconds between two looks at the memory."""


class Recycling:
    """Decides after a turn if it was the last one: after `max_tasks` tasks, or above `max_memory` resident bytes."""

    def __init__(
        self,
        max_tasks: int | None,
        max_memory: int | None,
        resident: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_tasks = max_tasks
        self._max_memory = max_memory
        self._resident = resident
        self._clock = clock
        self._looked_at = clock()

    def reason(self, tasks_done: int) -> str | None:
        """Return the reason to end, or None."""
        if self._max_tasks is not None and tasks_done >= self._max_tasks:
            return f"{tasks_done} tasks done, of {self._max_tasks}"
        if self._max_memory is None or self._clock() - self._looked_at < _MEMORY_EVERY_S:
            return None
        self._looked_at = self._clock()
        used = self._resident()
        return f"{used} bytes in memory, of {self._max_memory}" if used > self._max_memory else None


_STARTED_AFTER_S: Final = 0.1
"""Seconds after which STARTED is stored."""


class StartedStates(threading.Thread):
    """Stores STARTED once for each message that still runs after _STARTED_AFTER_S; `hostname` names the worker."""

    def __init__(self, claims: Claims, make_answer: MakeAnswer, hostname: str) -> None:
        super().__init__(name="mlq-started-state", daemon=True)
        self._claims = claims
        self._make_answer = make_answer
        self._hostname = hostname
        self._running: Sequence[Message] = ()
        self._began = threading.Event()

    def begin(self, messages: Sequence[Message]) -> None:
        """Note the messages that run now. This is cheap, because it is called for each batch."""
        self._running = messages
        self._began.set()

    def end(self) -> None:
        """Note that the batch has ended."""
        self._running = ()
        self._began.clear()

    def run(self) -> None:
        """Look at the running batch, and store STARTED if it still runs _STARTED_AFTER_S later."""
        announced: Sequence[Message] = ()
        pause = threading.Event()
        while True:
            self._began.wait()
            before = self._running
            pause.wait(_STARTED_AFTER_S)
            if before and before is self._running and before is not announced:
                announced = before
                for message in before:
                    self._announce(message)

    def _announce(self, message: Message) -> None:
        """Store STARTED while the claim is held; an error is only logged, because the task itself is not affected."""
        started = {"status": "STARTED", "result": {"pid": os.getpid(), "hostname": self._hostname}, "traceback": None}
        if message.place is not None or message.headers.get("ignore_result"):  # no client can read it
            return
        answer = self._make_answer(message.task_id, started, None)
        try:
            if answer is not None:
                self._claims.record(message.claim, answer)
        except (RedisError, OSError) as exc:
            log.debug("STARTED is not written: %s", exc, extra={"action": "started_not_stored"})
