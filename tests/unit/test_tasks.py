"""What the tasks promise of retries and failures, run eagerly with a model of the test's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from celery import Celery

from mlq import tasks
from mlq.app import create_app
from mlq.model.failure import DeviceLost, RowFailure
from mlq.settings import config


class Answers:
    """Stands in for a model: answers each call as told, and remembers how often it was called."""

    transient = (ConnectionError, TimeoutError)

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls = 0

    def predict(self, rows: Sequence[Any]) -> list[Any]:
        """Answer each row the same, or raise."""
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer for _ in rows]


class Meter:
    """Remembers what it was told."""

    rows = 0
    lost: DeviceLost | None = None

    def count_rows(self, rows: int) -> None:
        """Add up."""
        self.rows += rows

    def device_lost(self, reason: DeviceLost) -> None:
        """Remember why."""
        self.lost = reason


@pytest.fixture
def app() -> Celery:
    """Build the app as a worker does; nothing connects."""
    return create_app(config.load({"MLQ_BROKER_URL": "redis://nowhere/0"}))


def run(app: Celery, name: str, argument: Any, answer: Any) -> tuple[Any, Answers, Meter]:
    """Run a task to its end, retries included and without their delay."""
    model, meter = Answers(answer), Meter()
    tasks.serve(app, model, meter)  # type: ignore[arg-type]  # stands in for a model
    return app.tasks[name].apply(args=(argument,), throw=False), model, meter


@pytest.mark.parametrize(("name", "argument", "tries"), [("mlq.predict", 1, 3), ("mlq.batch_predict", [1, 2], 2)])
def test_a_failure_that_can_pass_is_tried_again(app: Celery, name: str, argument: Any, tries: int) -> None:
    """Twice for mlq.predict, once for mlq.batch_predict, 5 s apart."""
    result, model, _ = run(app, name, argument, ConnectionError("feature store is away"))
    assert (result.state, model.calls) == ("FAILURE", tries)
    assert isinstance(result.result, ConnectionError)
    assert app.tasks[name].default_retry_delay == 5


def test_a_row_that_ran_out_of_memory_is_tried_again_and_then_reported(app: Celery) -> None:
    """The last try answers for every row, saying how often it was tried."""
    result, model, _ = run(app, "mlq.batch_predict", [1], RowFailure(MemoryError("too large"), retryable=True))
    assert model.calls == 2
    assert result.result == [
        {"mlq.error": {"type": "MemoryError", "message": "too large", "retryable": True, "attempts": 2}}
    ]


def test_a_shape_error_is_not_tried_again(app: Celery) -> None:
    """The same row would fail the same way."""
    result, model, _ = run(app, "mlq.predict", [1, 2], RowFailure(ValueError("64 wanted"), retryable=False))
    assert (result.state, model.calls, str(result.result)) == ("FAILURE", 1, "64 wanted")


def test_a_lost_device_gives_the_message_back_and_stops_the_worker(app: Celery) -> None:
    """The context is gone: nothing that this process computes can be trusted."""
    result, _, meter = run(app, "mlq.predict", 1, DeviceLost("illegal address"))
    assert result.state == "REJECTED"
    assert str(meter.lost) == "illegal address"


def test_rows_that_are_no_list_are_refused(app: Celery) -> None:
    """A text would otherwise be answered letter by letter."""
    result, model, _ = run(app, "mlq.batch_predict", "abc", 1)
    assert (result.state, model.calls) == ("FAILURE", 0)
    assert "takes a list of rows, not str" in str(result.result)


def test_every_queue_has_a_key_of_its_own(app: Celery) -> None:
    """Celery would bind them all to the default queue's, and one message would be four."""
    assert {q.name: (q.exchange.name, q.routing_key) for q in app.conf.task_queues} == {
        name: (name, name) for name in ("realtime", "default", "batch", "celery")
    }
    assert app.conf.task_default_queue == "default"
    assert app.conf.accept_content == ["json"]
