"""What mlq serves: mlq.predict (one row) and mlq.batch_predict (a list of rows)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from celery import Celery, Task
from celery.exceptions import Reject

from mlq.engine.strategy import BatchOutcome
from mlq.errors import NoModel
from mlq.model.failure import DeviceLost, RowFailure
from mlq.protocol.names import BATCH_PREDICT, PREDICT, RETRIES
from mlq.protocol.packing import rows_in

if TYPE_CHECKING:
    _Task = Task[Any, Any]
else:
    _Task = Task  # generic in the stubs alone

RETRY_DELAY_S: Final = 5


class Meter(Protocol):
    """Who counts what a worker did."""

    def count_rows(self, rows: int) -> None:
        """Add to the rows answered."""

    def device_lost(self, reason: DeviceLost) -> None:
        """Stop taking work: the device answers nothing until the process is replaced."""


class ServedModel(Protocol):
    """What answers rows: a model."""

    transient: tuple[type[Exception], ...]

    def predict(self, rows: Sequence[Any]) -> Sequence[Any | RowFailure]:
        """Answer each row, in order. Raises what is `transient`, and DeviceLost."""


@dataclass(frozen=True)
class TaskContext:
    """What a worker answers with. `outcomes`: what a shared forward has computed already, by task id."""

    model: ServedModel
    meter: Meter
    outcomes: dict[str, BatchOutcome[Any]] = field(default_factory=dict)

    def answer(self, task_id: str | None, rows: Sequence[Any]) -> Sequence[Any | RowFailure]:
        """Answer rows, or give the answers that are there. Raises what Model.predict raises."""
        ready = self.outcomes.pop(task_id or "", None)
        if ready is None:
            answers = self.model.predict(rows)
            self.meter.count_rows(len(rows))
            return answers
        if ready.failure is not None:
            raise ready.failure
        return ready.answers


class ModelTask(_Task):
    """A task answered by the worker's model. Clients register it too, without one."""

    abstract = True
    default_retry_delay = RETRY_DELAY_S
    serving: TaskContext | None = None

    def answer(self, rows: Sequence[Any]) -> Sequence[Any | RowFailure]:
        """Run the rows; raise celery's Retry for failures that can pass, while tries are left.

        Raises NoModel where no model was loaded, Reject (the message goes back) when the device is gone.
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
    """mlq.predict: one row; a row that fails is a task that fails, with the model's own complaint."""

    name = PREDICT
    max_retries = RETRIES[PREDICT]

    def run(self, row: Any) -> Any:
        """Answer one row."""
        (answer,) = self.answer([row])
        if isinstance(answer, RowFailure):
            raise answer.error
        return answer


class BatchPredict(ModelTask):
    """mlq.batch_predict: a list of rows; one that fails becomes {"mlq.error": {type, message, retryable, attempts}}."""

    name = BATCH_PREDICT
    max_retries = RETRIES[BATCH_PREDICT]

    def run(self, rows: Any) -> list[Any]:
        """Answer each row, in order. Raises TypeError and ValueError as packing.rows_in does."""
        attempts = self.request.retries + 1
        return [a.as_element(attempts) if isinstance(a, RowFailure) else a for a in self.answer(rows_in(rows))]


def register(app: Celery, aliases: Mapping[str, str]) -> None:
    """Add both tasks to an app, and the foreign names for them; without a model until `serve` gives them one."""
    kinds: dict[str, type[ModelTask]] = {PREDICT: Predict, BATCH_PREDICT: BatchPredict}
    for name, ours in {**{k: k for k in kinds}, **aliases}.items():
        app.register_task(_named(kinds[ours], name))


def _named(kind: type[ModelTask], task_name: str) -> ModelTask:
    class Named(kind):  # type: ignore[misc, valid-type]  # a class made of a value
        name = task_name

    return Named()


def serve(app: Celery, model: ServedModel, meter: Meter) -> TaskContext:
    """Let this process answer: from now on the tasks have a model."""
    serving = TaskContext(model, meter)
    for task in _model_tasks(app):
        task.serving = serving
    return serving


def can_answer(app: Celery) -> bool:
    """Tell whether every task of mlq's that this app has could be answered in this process."""
    return all(task.serving is not None for task in _model_tasks(app))


def _model_tasks(app: Celery) -> list[ModelTask]:
    return [task for task in app.tasks.values() if isinstance(task, ModelTask)]
