"""Time limits of tasks and forwards, enforced even while C code holds the GIL."""

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

from mlq.exit_codes import ExitCode
from mlq.model.failure import RowFailure

if TYPE_CHECKING:
    from mlq.ipc.shared_pages import WorkerReport
    from mlq.model.model import Model


_STDERR: Final = 2
"""File descriptor of stderr. Celery replaces sys.stderr with an object that has none, which faulthandler refuses."""

_ANSWER_S: Final = 1.0
"""Seconds that a process has to answer its task before it ends; its supervisor aborts it after 2 s."""


@dataclass(frozen=True)
class Limit:
    """A soft and a hard time limit."""

    soft: float | None = None
    """Seconds after which the running code gets SoftTimeLimitExceeded; None for no limit."""

    hard: float | None = None
    """Seconds after which the process ends; None for no limit."""

    by_message: bool = False
    """Whether the message brought the hard limit."""

    def __bool__(self) -> bool:
        return self.soft is not None or self.hard is not None


@dataclass(frozen=True)
class MessageLimits:
    """How time limits in messages are treated."""

    least: float = 1.0
    """Fewest seconds of such a limit; a lower one is raised."""

    are_applied: bool = True
    """Whether they apply at all."""

    def of(self, header: Any) -> tuple[float | None, float | None]:
        """Return the hard and the soft limit of a `timelimit` header, in seconds; None for each that does not apply.

        The header of Celery's protocol 2 is [hard, soft]; 0 or null mean no limit.
        """
        pair = header if self.are_applied and isinstance(header, (list, tuple)) and len(header) == 2 else ()  # noqa: PLR2004
        hard, soft = (max(self.least, float(s)) if s else None for s in pair or (None, None))
        return hard, soft


def effective(message: Any, task: Any, worker: Limit, message_limits: MessageLimits = MessageLimits()) -> Limit:
    """Choose the soft and the hard limit separately: from the message (its header), else the task, else the worker."""
    hard, soft = message_limits.of(message)
    return Limit(
        soft=soft or getattr(task, "soft_time_limit", None) or worker.soft,
        hard=hard or getattr(task, "time_limit", None) or worker.hard,
        by_message=hard is not None,
    )


class TimeLimits:
    """The timers of a process, for its main thread. One span is timed at a time; a span within it shares its timer.

    The soft limit is a signal, so it takes effect when Python code runs again. The hard limit is faulthandler's C
    thread, which needs no GIL: it writes the stacks and ends the process. The worker report shows the supervisor the
    deadline and its claims before that.
    """

    def __init__(
        self,
        worker: Limit,
        report: WorkerReport,
        changed: Callable[[], None],
        message_limits: MessageLimits = MessageLimits(),
    ) -> None:
        self.worker = worker
        self.message_limits = message_limits
        self._report = report
        self._changed = changed
        self._timing = False
        self._soft_s: float | None = None
        self._hard_s: float | None = None
        self._answer: Callable[[float], None] | None = None

    def answer_first(self, answer: Callable[[float], None]) -> None:
        """At a hard limit, call `answer` before the process ends, if Python code runs again within `_ANSWER_S`.

        This is for brokers where a supervisor cannot take the message of an ended worker. The worker must answer and
        acknowledge it, or the broker would deliver it again and again, and each time it would reach its limit.
        """
        self._answer = answer

    def install(self) -> None:
        """Handle SIGALRM, and let fatal signals print the stacks, such as SIGABRT from the supervisor."""
        signal.signal(signal.SIGALRM, self._expired)
        faulthandler.enable(file=_STDERR)

    @contextmanager
    def over(self, limit: Limit, claims: Sequence[str] = ()) -> Iterator[None]:
        """Limit the time of the code inside, which runs these claims. It may get Celery's SoftTimeLimitExceeded."""
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
        signal.setitimer(
            signal.ITIMER_REAL, self._next_s() or 0
        )  # a negative number raises an error, in faulthandler, too

    def _next_s(self) -> float | None:
        """Return the lower of the limits that are signals, or None."""
        return min((limit for limit in (self._soft_s, self._hard_s) if limit is not None), default=None)

    def _end(self) -> None:
        # The limits are cleared first: a signal that is already pending must not interrupt the code after the span.
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
            os._exit(ExitCode.FAILED)  # as faulthandler does
        if soft_s is not None:
            self._soft_s = None
            if (next_s := self._next_s()) is not None:
                signal.setitimer(signal.ITIMER_REAL, max(0.001, next_s - soft_s))  # 0 would disarm it
            raise SoftTimeLimitExceeded(soft_s)


class TimedModel:
    """A model whose forwards have the time limits of the worker, for `claims`, which may grow between two forwards."""

    def __init__(self, model: Model, limits: TimeLimits) -> None:
        self.max_batch_size = model.max_batch_size
        self.transient = model.transient
        self.interrupts = model.interrupts
        self.claims: list[str] = []
        self._model = model
        self._limits = limits

    def predict(self, rows: Sequence[Any]) -> list[Any | RowFailure]:
        """Answer each row; rows that exceed the time limit fail. Raises what Model.predict raises."""
        try:
            with self._limits.over(self._limits.worker, self.claims):
                return self._model.predict(rows)
        except SoftTimeLimitExceeded as exc:  # the signal came just after the model returned
            return [RowFailure(exc, retryable=False)] * len(rows)
