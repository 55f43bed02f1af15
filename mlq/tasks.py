"""What mlq serves: mlq.predict (one row) and mlq.batch_predict (a list of rows)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from celery import Celery, Task
from celery.exceptions import Reject

from mlq.errors import NoModel
from mlq.model.failure import DeviceLost, RowFailure

if TYPE_CHECKING:
    from mlq.model.model import Model

    _Task = Task[Any, Any]
else:
    _Task = Task  # generic in the stubs alone

PREDICT: Final = "mlq.predict"
BATCH_PREDICT: Final = "mlq.batch_predict"
RETRY_DELAY_S: Final = 5
ROW_ERROR: Final = "mlq.error"
"""The one key of an element of mlq.batch_predict's result that stands for a row that failed."""


class Meter(Protocol):
    """Who counts what a worker did."""

    def count_rows(self, rows: int) -> None:
        """Add to the rows answered."""

    def device_lost(self, reason: DeviceLost) -> None:
        """Stop taking work: the device answers nothing until the process is replaced."""


class ModelTask(_Task):
    """A task answered by the worker's model. Clients register it too, without one."""

    abstract = True
    default_retry_delay = RETRY_DELAY_S
    serving: tuple[Model, Meter] | None = None

    def answer(self, rows: Sequence[Any]) -> list[Any | RowFailure]:
        """Run the rows; raise celery's Retry for failures that can pass, while tries are left.

        Raises NoModel where no model was loaded, Reject (the message goes back) when the device is gone.
        """
        if self.serving is None:
            raise NoModel
        model, meter = self.serving
        try:
            answers: list[Any | RowFailure] = model.predict(rows)
        except DeviceLost as exc:
            meter.device_lost(exc)
            raise Reject(exc, requeue=True) from exc
        except model.transient as exc:
            raise self.retry(exc=exc) from exc
        passing = next((a.error for a in answers if isinstance(a, RowFailure) and a.retryable), None)
        if passing is not None and self.request.retries < (self.max_retries or 0):
            raise self.retry(exc=passing)
        meter.count_rows(len(rows))
        return answers


class Predict(ModelTask):
    """mlq.predict: one row; a row that fails is a task that fails, with the model's own complaint."""

    name = PREDICT
    max_retries = 2

    def run(self, row: Any) -> Any:
        """Answer one row."""
        (answer,) = self.answer([row])
        if isinstance(answer, RowFailure):
            raise answer.error
        return answer


class BatchPredict(ModelTask):
    """mlq.batch_predict: a list of rows; one that fails becomes {"mlq.error": {type, message, retryable, attempts}}."""

    name = BATCH_PREDICT
    max_retries = 1

    def run(self, rows: list[Any]) -> list[Any]:
        """Answer each row, in order."""
        if not isinstance(rows, list):
            message = f"{BATCH_PREDICT} takes a list of rows, not {type(rows).__name__}"
            raise TypeError(message)
        attempts = self.request.retries + 1
        return [_written(a, attempts) if isinstance(a, RowFailure) else a for a in self.answer(rows)]


def _written(failure: RowFailure, attempts: int) -> dict[str, Any]:
    kind, message = type(failure.error).__name__, str(failure.error)
    error = {"type": kind, "message": message, "retryable": failure.retryable, "attempts": attempts}
    return {ROW_ERROR: error}


def register(app: Celery) -> None:
    """Add both tasks to an app; without a model until `serve` gives them one."""
    for task in (Predict(), BatchPredict()):
        app.register_task(task)


def serve(app: Celery, model: Model, meter: Meter) -> None:
    """Let this process answer: from now on the tasks have a model."""
    for task in _model_tasks(app):
        task.serving = (model, meter)


def can_answer(app: Celery) -> bool:
    """Tell whether every task of mlq's that this app has could be answered in this process."""
    return all(task.serving is not None for task in _model_tasks(app))


def _model_tasks(app: Celery) -> list[ModelTask]:
    return [task for task in app.tasks.values() if isinstance(task, ModelTask)]
