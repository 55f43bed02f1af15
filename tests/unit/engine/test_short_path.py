"""The short path stores the same as Celery's tracer: both are compared, message by message."""

from __future__ import annotations

import base64
import itertools
import json
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from celery import Celery
from celery.app import backends
from celery.app.trace import trace_task_ret

from mlq import tasks
from mlq.app import create_app
from mlq.engine import micro_batches
from mlq.engine.celery.backend import ClaimBackend
from mlq.engine.celery.delivery import Delivery
from mlq.engine.ledger import Ledger
from mlq.engine.micro_batches import BatchOutcome
from mlq.model.failure import RowFailure
from mlq.protocol.message import Claim, Message, decode
from mlq.protocol.names import BATCH_PREDICT, PREDICT
from mlq.protocol.result import Answer
from mlq.settings import config

TASK_ID: Final = "6b0c2a4e-7f1d-4c5b-9a52-1f0e3c2b4d5a"
OTHER_ID: Final = "11111111-2222-3333-4444-555555555555"
SERVED: Final = {PREDICT: PREDICT, BATCH_PREDICT: BATCH_PREDICT}
NOTHING_FOLLOWS: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

DEEP: Final[list[Any]] = []
for _ in range(300):
    DEEP[:] = [DEEP.copy()]

RESULTS: Final[dict[str, Any]] = {
    "null": None,
    "true": True,
    "zero": 0,
    "more than a double holds": 2**53 + 1,
    "64 bits": 2**64 - 1,
    "more than 64 bits": -(2**70),
    "a fraction": 0.1,
    "minus zero": -0.0,
    "very large": 1.7976931348623157e308,
    "very small": 5e-324,
    "empty text": "",
    "unicode": "naïve ☃ 😀 \u2028",
    "control characters": "\x00\x1b[31m\n",
    "half a character": "\ud800",
    "numbers": [1, 2.5, -3],
    "nested": {"a": [{"b": {"c": [None, [], {}]}}], "é": "ü", "": 0},
    "nested deeply": DEEP,
}


class Claims:
    """A stand-in for the claims: states before the final one are not stored."""

    def record(self, claim: Claim, state: Answer) -> None:
        """Accept STARTED."""


class Model:
    """A stand-in for a model, whose answers are computed already."""

    max_batch_size = 4
    transient = (ConnectionError,)


class Meter:
    """A meter that counts nothing."""

    def count_rows(self, rows: int) -> None:
        """Do nothing."""


class Worker:
    """The parts of a worker that need no Redis: an app whose results go to a ledger."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.app = create_app(config.load({"MLQ_BROKER_URL": "redis://nowhere/0"}))
        self.serving = tasks.serve(self.app, Model(), Meter())  # type: ignore[arg-type]  # both stand in
        self.delivery = Delivery(self.app, self.ledger, lambda *_: None)

    def long_way(self, message: Message, answers: list[Any]) -> Answer | None:
        """Let Celery's tracer end a message whose rows are computed, and return the stored result."""
        self.serving.outcomes[message.task_id] = BatchOutcome(rows(message), answers)
        self.ledger.open(message.claim, message.task_id)
        body = base64.b64decode(message.payload["body"])
        request = {**message.headers, "delivery_info": {"priority": message.payload["properties"]["priority"]}}
        trace_task_ret(message.task, message.task_id, request, body, "application/json", "utf-8", app=self.app)
        completion = self.ledger.close(message.claim.id)
        assert completion is not None
        return completion.answer

    def short_way(self, message: Message, answers: list[Any]) -> Answer | None:
        """End a message as the engine does."""
        result = micro_batches.plain_result(BatchOutcome(rows(message), answers))
        assert result is not micro_batches.NO_ANSWER
        payload = micro_batches.encode_success(message, result)
        return None if payload is None else self.delivery.make_payload_answer(message, payload)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    """Store results through the claims, as a worker does, and restore Celery's aliases after the test."""
    for scheme in ("redis", "rediss"):
        monkeypatch.setitem(backends.BACKEND_ALIASES, scheme, "mlq.engine.celery.backend:ClaimBackend")
    found = Worker()
    monkeypatch.setattr(ClaimBackend, "ledger", found.ledger)
    monkeypatch.setattr(ClaimBackend, "claims", Claims())
    return found


def message_of(
    task: str = PREDICT,
    *,
    argument: Any = 1,
    headers: dict[str, Any] | None = None,
    follows: dict[str, Any] | None = None,
    priority: int | None = 0,
) -> Message:
    """Encode a message as a stock client does, and decode it as the worker does."""
    body = json.dumps([[argument], {}, {**NOTHING_FOLLOWS, **(follows or {})}]).encode()
    always = {"retries": 0, "timelimit": [None, None], "expires": None, "group": None, "ignore_result": False}
    raw = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": task, "id": TASK_ID, "root_id": TASK_ID, "parent_id": None, **always, **(headers or {})},
        "properties": {
            "delivery_info": {"exchange": "", "routing_key": "realtime"},
            "delivery_tag": "t",
            "priority": priority,
            "body_encoding": "base64",
        },
    }
    found = decode(Claim("1-1", "realtime", 0, json.dumps(raw).encode()))
    assert isinstance(found, Message)
    return found


def rows(message: Message) -> micro_batches.ModelRequest:
    """Return the rows of a message, which must have some."""
    found = micro_batches.rows_of(message, SERVED)
    assert found is not None
    return found


def without_time(answer: Answer | None) -> Any:
    """Decode a stored result, and check the only field that differs between two runs."""
    if answer is None:
        return None
    meta = json.loads(answer.payload)
    assert datetime.fromisoformat(meta.pop("date_done")).utcoffset() == timedelta(0)
    return {**meta, "key": answer.key, "keep_s": answer.keep_s, "db": answer.db}


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("task", [PREDICT, BATCH_PREDICT])
def test_a_result_of_any_kind_is_stored_as_celery_stores_it(worker: Worker, task: str, kind: str) -> None:
    """A result that the faster encoder cannot write is left to Celery; it never raises in the engine."""
    message = message_of(task, argument=1 if task == PREDICT else [1])
    short = worker.short_way(message, [RESULTS[kind]])
    if short is None:
        assert kind in {"more than 64 bits", "half a character", "nested deeply"}
    else:
        assert without_time(short) == without_time(worker.long_way(message, [RESULTS[kind]]))


@pytest.mark.parametrize(
    ("task", "retries", "parent", "root", "ignore", "priority"),
    [*itertools.product(SERVED, [0, 1, 3], [None, OTHER_ID], [TASK_ID, None], [False, None], [None, 9])],
)
def test_headers_of_the_sender_are_stored_as_celery_stores_them(
    worker: Worker,
    task: str,
    retries: int,
    parent: str | None,
    root: str | None,
    ignore: bool | None,  # noqa: FBT001 (a header, not an option)
    priority: int | None,
) -> None:
    """For a retried, an urgent task or one in a workflow, the client reads the same fields."""
    headers = {"retries": retries, "parent_id": parent, "root_id": root, "ignore_result": ignore}
    message = message_of(task, argument=[7], headers=headers, priority=priority)
    assert rows(message).is_plain
    assert without_time(worker.short_way(message, [7])) == without_time(worker.long_way(message, [7]))


def test_failed_rows_are_stored_as_the_task_returns_them(worker: Worker) -> None:
    """The short path counts attempts, too."""
    message = message_of(BATCH_PREDICT, argument=[1, 2], headers={"retries": 1})
    answers = [5, RowFailure(ValueError("no such row"), retryable=False)]
    assert without_time(worker.short_way(message, answers)) == without_time(worker.long_way(message, answers))


@pytest.mark.parametrize("task", [PREDICT, BATCH_PREDICT])
def test_an_ignored_result_is_stored_by_neither(worker: Worker, task: str) -> None:
    """A stored result would be useless until it expires."""
    message = message_of(task, argument=[1], headers={"ignore_result": True})
    assert worker.short_way(message, [1]) is None
    assert worker.long_way(message, [1]) is None


def test_the_date_of_a_result_is_written_in_celerys_format(worker: Worker) -> None:
    """Flower and other monitors compare these dates as strings."""
    message = message_of()
    short, long = worker.short_way(message, [1]), worker.long_way(message, [1])
    assert short is not None
    assert long is not None
    one, other = (json.loads(a.payload)["date_done"] for a in (short, long))
    assert (len(one), one[-6:]) == (len(other), other[-6:]) == (32, "+00:00")


@pytest.mark.parametrize("followed", NOTHING_FOLLOWS)
def test_a_task_with_links_takes_the_long_path(followed: str) -> None:
    """The short path publishes no messages."""
    link = {"task": "t", "args": [], "kwargs": {}, "options": {}}
    assert not rows(message_of(follows={followed: link if followed == "chord" else [link]})).is_plain


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("group", OTHER_ID),
        ("stamped_headers", ["of"]),
        ("replaced_task_nesting", 1),
        ("shadow", "their.name"),
    ],
)
def test_a_header_that_asks_for_more_takes_the_long_path(header: str, value: Any) -> None:
    """Only Celery's tracer knows how to treat such headers."""
    assert not rows(message_of(headers={header: value})).is_plain


@pytest.mark.parametrize(
    ("header", "value"),
    [("expires", "2031-01-01T00:00:00+00:00"), ("timelimit", [60, None]), ("timelimit", [None, 30])],
)
def test_a_message_with_its_own_time_limit_runs_alone(header: str, value: Any) -> None:
    """A forward cannot be stopped for only one of its messages."""
    assert micro_batches.rows_of(message_of(headers={header: value}), SERVED) is None


@pytest.mark.parametrize("failure", [ConnectionError("away"), None])
def test_retries_and_failures_take_the_long_path(failure: Exception | None) -> None:
    """A retry is a message, and a failure has a traceback; the tracer makes both."""
    answers = [] if failure else [RowFailure(ValueError("bad"), retryable=False)]
    assert micro_batches.plain_result(BatchOutcome(rows(message_of()), answers, failure)) is micro_batches.NO_ANSWER


def test_a_stock_app_keeps_its_backend(worker: Worker) -> None:
    """The backend is replaced in workers, not in clients that import mlq."""
    assert isinstance(worker.app.backend, ClaimBackend)
    assert not isinstance(Celery("client", backend="cache+memory://", set_as_current=False).backend, ClaimBackend)
