"""The retries and failures of the tasks, run eagerly with a fake model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from celery import Celery

from mlq import tasks
from mlq.app import create_app
from mlq.model.failure import DeviceLost, RowFailure
from mlq.settings import config


class FakeModel:
    """A model that answers each call with a given answer, and counts its calls."""

    transient = (ConnectionError, TimeoutError)

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls = 0

    def predict(self, rows: Sequence[Any]) -> list[Any]:
        """Return the same answer for each row, or raise it."""
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer for _ in rows]


class FakeMeter:
    """A meter that keeps what the tasks report to it."""

    rows = 0
    lost: DeviceLost | None = None

    def count_rows(self, rows: int) -> None:
        """Add up the rows."""
        self.rows += rows

    def device_lost(self, reason: DeviceLost) -> None:
        """Keep the reason."""
        self.lost = reason


@pytest.fixture
def app() -> Celery:
    """Return the app as a worker builds it; it connects to no server."""
    return create_app(config.load({"MLQ_BROKER_URL": "redis://nowhere/0"}))


def run(app: Celery, name: str, argument: Any, answer: Any) -> tuple[Any, FakeModel, FakeMeter]:
    """Run a task to its end, with its retries but without their delay."""
    model, meter = FakeModel(answer), FakeMeter()
    tasks.serve(app, model, meter)  # type: ignore[arg-type]  # stands in for a model
    return app.tasks[name].apply(args=(argument,), throw=False), model, meter


@pytest.mark.parametrize(("name", "argument", "tries"), [("mlq.predict", 1, 3), ("mlq.batch_predict", [1, 2], 2)])
def test_a_transient_failure_is_retried(app: Celery, name: str, argument: Any, tries: int) -> None:
    """mlq.predict is retried twice, mlq.batch_predict once, after 5 s each."""
    result, model, _ = run(app, name, argument, ConnectionError("feature store is away"))
    assert (result.state, model.calls) == ("FAILURE", tries)
    assert isinstance(result.result, ConnectionError)
    assert app.tasks[name].default_retry_delay == 5


def test_a_row_that_ran_out_of_memory_is_retried_and_then_reported(app: Celery) -> None:
    """The last try answers for every row, with the number of tries."""
    result, model, _ = run(app, "mlq.batch_predict", [1], RowFailure(MemoryError("too large"), retryable=True))
    assert model.calls == 2
    assert result.result == [
        {"mlq.error": {"type": "MemoryError", "message": "too large", "retryable": True, "attempts": 2}}
    ]


def test_a_shape_error_is_not_retried(app: Celery) -> None:
    """The same row would fail in the same way."""
    result, model, _ = run(app, "mlq.predict", [1, 2], RowFailure(ValueError("64 wanted"), retryable=False))
    assert (result.state, model.calls, str(result.result)) == ("FAILURE", 1, "64 wanted")


def test_a_lost_device_gives_the_message_back_and_stops_the_worker(app: Celery) -> None:
    """The context of the device is lost, so results of this process cannot be trusted."""
    result, _, meter = run(app, "mlq.predict", 1, DeviceLost("illegal address"))
    assert result.state == "REJECTED"
    assert str(meter.lost) == "illegal address"


def test_rows_that_are_not_a_list_are_refused(app: Celery) -> None:
    """A string would be answered character by character."""
    result, model, _ = run(app, "mlq.batch_predict", "abc", 1)
    assert (result.state, model.calls) == ("FAILURE", 0)
    assert "takes a list of rows, not str" in str(result.result)


def test_every_queue_has_its_own_routing_key(app: Celery) -> None:
    """Celery would bind all queues to the default queue's key, and one message would arrive four times."""
    assert {q.name: (q.exchange.name, q.routing_key) for q in app.conf.task_queues} == {
        name: (name, name) for name in ("realtime", "default", "batch", "celery")
    }
    assert app.conf.task_default_queue == "default"
    assert app.conf.accept_content == ["json"]
