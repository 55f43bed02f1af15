"""The tasks that mlq serves: mlq.predict (one row) and mlq.batch_predict (a list of rows)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from celery import Celery, Task
from celery.exceptions import Reject

from mlq.errors import NoModel
from mlq.model.failure import DeviceLost, RowFailure
from mlq.protocol.names import BATCH_PREDICT, PREDICT, RETRIES
from mlq.protocol.packing import rows_in

if TYPE_CHECKING:
    from mlq.engine.micro_batches import BatchOutcome

    _Task = Task[Any, Any]
else:
    _Task = Task  # it is generic only in the stubs

RETRY_DELAY_S: Final = 5
"""Seconds before a task with a transient failure is retried."""


class Meter(Protocol):
    """Counts the rows that a worker answers."""

    def count_rows(self, rows: int) -> None:
        """Count rows that were answered."""

    def device_lost(self, reason: DeviceLost) -> None:
        """Stop claiming: the device works again only after the process is replaced."""


class ServedModel(Protocol):
    """The part of a model that the tasks use."""

    transient: tuple[type[Exception], ...]

    def predict(self, rows: Sequence[Any]) -> Sequence[Any | RowFailure]:
        """Answer each row, in order. Raises `transient` exceptions and DeviceLost."""


@dataclass(frozen=True)
class TaskContext:
    """What the tasks of a worker need."""

    model: ServedModel
    meter: Meter
    outcomes: dict[str, BatchOutcome[Any]] = field(default_factory=dict)
    """Results that a shared forward has computed already, by task id."""

    def answer(self, task_id: str | None, rows: Sequence[Any]) -> Sequence[Any | RowFailure]:
        """Return the answers of a shared forward, or else compute them. Raises what Model.predict raises."""
        ready = self.outcomes.pop(task_id or "", None)
        if ready is None:
            answers = self.model.predict(rows)
            self.meter.count_rows(len(rows))
            return answers
        if ready.failure is not None:
            raise ready.failure
        return ready.answers


class ModelTask(_Task):
    """A task that the worker's model answers. Clients register it without a model."""

    abstract = True
    default_retry_delay = RETRY_DELAY_S
    serving: TaskContext | None = None

    def answer(self, rows: Sequence[Any]) -> Sequence[Any | RowFailure]:
        """Answer rows.

        Raises:
            NoModel: This process has no model.
            celery.exceptions.Retry: A failure is transient, and attempts are left.
            celery.exceptions.Reject: The device failed; the message goes back to its queue.
        """
        if self.serving is None:
            raise NoModel
        try:
            answers = self.serving.answer(self.request.id, rows)
        except DeviceLost as exc:
            self.serving.meter.device_lost(exc)
            raise Reject(exc, requeue=True) from exc
        except self.serving.model.transient as exc:
            raise self.retry(exc=exc) from exc
        passing = next((a.error for a in answers if isinstance(a, RowFailure) and a.retryable), None)
        if passing is not None and self.request.retries < (self.max_retries or 0):
            raise self.retry(exc=passing)
        return answers


class Predict(ModelTask):
    """mlq.predict: one row; if the row fails, the task fails with the exception of the model."""

    name = PREDICT
    max_retries = RETRIES[PREDICT]

    def run(self, row: Any) -> Any:
        """Answer one row."""
        (answer,) = self.answer([row])
        if isinstance(answer, RowFailure):
            raise answer.error
        return answer


class BatchPredict(ModelTask):
    """mlq.batch_predict: a list of rows; a failed row becomes {"mlq.error": {type, message, retryable, attempts}}."""

    name = BATCH_PREDICT
    max_retries = RETRIES[BATCH_PREDICT]

    def run(self, rows: Any) -> list[Any]:
        """Answer each row, in order. Raises TypeError and ValueError as packing.rows_in does."""
        attempts = self.request.retries + 1
        return [a.as_element(attempts) if isinstance(a, RowFailure) else a for a in self.answer(rows_in(rows))]


def register(app: Celery, aliases: Mapping[str, str]) -> None:
    """Register both tasks and their aliases in an app; they have no model until `serve` is called."""
    kinds: dict[str, type[ModelTask]] = {PREDICT: Predict, BATCH_PREDICT: BatchPredict}
    for name, ours in {**{k: k for k in kinds}, **aliases}.items():
        app.register_task(_named(kinds[ours], name))


def _named(kind: type[ModelTask], task_name: str) -> ModelTask:
    class Named(kind):  # type: ignore[misc, valid-type]  # the base class is a value
        name = task_name

    return Named()


def serve(app: Celery, model: ServedModel, meter: Meter) -> TaskContext:
    """Give the tasks of this app a model; return their context."""
    serving = TaskContext(model, meter)
    for task in _model_tasks(app):
        task.serving = serving
    return serving


def can_answer(app: Celery) -> bool:
    """Return whether all tasks of mlq in this app have a model."""
    return all(task.serving is not None for task in _model_tasks(app))


def _model_tasks(app: Celery) -> list[ModelTask]:
    return [task for task in app.tasks.values() if isinstance(task, ModelTask)]
