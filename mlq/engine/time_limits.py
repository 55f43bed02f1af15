"""Limits: how long a task or a forward may take, enforced even while C code holds the GIL."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from celery.exceptions import SoftTimeLimitExceeded

from mlq.model.failure import RowFailure

if TYPE_CHECKING:
    from mlq.ipc.worker_report import WorkerReport
    from mlq.model.model import Model


_STDERR: Final = 2
"""Not sys.stderr: Celery replaces it by an object without a descriptor, and nothing would be armed."""

_ANSWER_S: Final = 1.0
"""How long a process that is to answer before it ends may take for it; its supervisor waits 2 s before it aborts it."""


@dataclass(frozen=True)
class Limit:
    """Seconds, or None for none. At `soft` the running code gets SoftTimeLimitExceeded, at `hard` the process ends.

    With `by_message` the hard one came with a message.
    """

    soft: float | None = None
    hard: float | None = None
    by_message: bool = False

    def __bool__(self) -> bool:
        return self.soft is not None or self.hard is not None


@dataclass(frozen=True)
class OfMessages:
    """What becomes of limits that come with messages: each has `least` seconds; unless `heeded` none holds."""

    least: float = 1.0
    heeded: bool = True

    def of(self, header: Any) -> tuple[float | None, float | None]:
        """Give the hard and the soft limit of the header `timelimit`; None for each that is not to hold.

        The header is that of Celery's protocol 2, [hard, soft]; 0 or null stand for none there.
        """
        pair = header if self.heeded and isinstance(header, (list, tuple)) and len(header) == 2 else ()  # noqa: PLR2004
        hard, soft = (max(self.least, float(s)) if s else None for s in pair or (None, None))
        return hard, soft


def effective(message: Any, task: Any, worker: Limit, of_messages: OfMessages = OfMessages()) -> Limit:
    """Choose, each for itself: the limit of the message (its header) before its task's before the worker's."""
    hard, soft = of_messages.of(message)
    return Limit(
        soft=soft or getattr(task, "soft_time_limit", None) or worker.soft,
        hard=hard or getattr(task, "time_limit", None) or worker.hard,
        by_message=hard is not None,
    )


class TimeLimits:
    """The timers of a process, for its main thread. One span is timed at a time; one within it has its time.

    The soft limit is a signal, so it waits for Python to run again. The hard one is faulthandler's, a thread of C's
    that needs no GIL: it writes the stacks and ends the process. Before that, the deadline and the claims that it
    is for are on the board, where the supervisor finds them.
    """

    def __init__(
        self, worker: Limit, report: WorkerReport, changed: Callable[[], None], of_messages: OfMessages = OfMessages()
    ) -> None:
        self.worker = worker
        self.of_messages = of_messages
        self._report = report
        self._changed = changed
        self._timing = False
        self._soft_s: float | None = None
        self._hard_s: float | None = None
        self._answer: Callable[[float], None] | None = None

    def answer_first(self, answer: Callable[[float], None]) -> None:
        """At a hard limit, call `answer` before the process ends, if Python runs again within `_ANSWER_S`.

        For brokers on which no supervisor can take the message away from an ended worker: there the worker answers
        and acknowledges it, or it would be delivered, and run into its limit, again and again.
        """
        self._answer = answer

    def install(self) -> None:
        """Take SIGALRM over, and let deadly signals tell the stacks: SIGABRT may come from the supervisor."""
        signal.signal(signal.SIGALRM, self._expired)
        faulthandler.enable(file=_STDERR)

    @contextmanager
    def over(self, limit: Limit, claims: Sequence[str] = ()) -> Iterator[None]:
        """Time what is done inside, on behalf of these claims. Raises celery's SoftTimeLimitExceeded there."""
        if self._timing or not limit:
            yield
            return
        try:
            self._begin(limit, claims)
            yield
        finally:
            self._end()

    def _begin(self, limit: Limit, claims: Sequence[str]) -> None:
        self._timing = True
        if limit.hard is not None:
            self._report.deadline = time.monotonic() + limit.hard
            self._report.limit_s, self._report.under = limit.hard, list(claims)
            self._report.limit_by_message = limit.by_message
            self._changed()
            patience_s = 0.0 if self._answer is None else _ANSWER_S
            faulthandler.dump_traceback_later(limit.hard + patience_s, exit=True, file=_STDERR)
        self._soft_s = limit.soft
        self._hard_s = None if self._answer is None else limit.hard
        signal.setitimer(signal.ITIMER_REAL, self._next_s() or 0)  # refuses a negative number, as faulthandler does

    def _next_s(self) -> float | None:
        """Give the lower of the limits that are signals, or None."""
        return min((limit for limit in (self._soft_s, self._hard_s) if limit is not None), default=None)

    def _end(self) -> None:
        # First the flag: a signal that is pending already must not hit what comes after the span.
        self._soft_s = self._hard_s = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        if self._report.deadline is not None:
            faulthandler.cancel_dump_traceback_later()
            self._report.deadline, self._report.under = None, []
            self._changed()
        self._timing = False

    def _expired(self, *_: Any) -> None:
        soft_s, hard_s = self._soft_s, self._hard_s
        if hard_s is not None and self._answer is not None and (soft_s is None or soft_s >= hard_s):
            faulthandler.dump_traceback(file=_STDERR)
            self._answer(hard_s)
            os._exit(1)  # as faulthandler does
        if soft_s is not None:
            self._soft_s = None
            if (next_s := self._next_s()) is not None:
                signal.setitimer(signal.ITIMER_REAL, max(0.001, next_s - soft_s))  # 0 would disarm it
            raise SoftTimeLimitExceeded(soft_s)


class Timed:
    """A model whose every forward has the worker's limits, on behalf of `claims`, which may grow between two."""

    def __init__(self, model: Model, limits: TimeLimits, claims: list[str]) -> None:
        self.max_batch_size = model.max_batch_size
        self.transient = model.transient
        self.interrupts = model.interrupts
        self.claims = claims
        self._model = model
        self._limits = limits

    def predict(self, rows: Sequence[Any]) -> list[Any | RowFailure]:
        """Answer each row, or fail those that the time did not suffice for. Raises what Model.predict raises."""
        try:
            with self._limits.over(self._limits.worker, self.claims):
                return self._model.predict(rows)
        except SoftTimeLimitExceeded as exc:  # it came when the model had just returned
            return [RowFailure(exc, retryable=False)] * len(rows)
