"""A plain Celery app for inference: a task per row, the model in a global, solo pool, late acks, prefetch 1, results.

celery -A benchmarks.plain.celery_app worker --pool=solo -Q realtime,batch,default

With BENCH_START_METHOD=spawn and --pool=prefork it is the other setup that can serve a model on a GPU: a forked process
cannot use CUDA, a spawned one can.

It is written as users write it, with the settings of tutorials: it is neither slow on purpose nor tuned.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.signals import worker_process_init
from kombu import Queue

from benchmarks import model

if TYPE_CHECKING:
    from collections.abc import Callable

app = Celery("inference", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_RESULTS"])
app.conf.update(
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    task_track_started=True,
    worker_prefetch_multiplier=1,
    result_expires=3600,
    task_queues=(Queue("realtime"), Queue("batch"), Queue("default")),
    task_default_queue="default",
    task_routes={"plain.predict": {"queue": "realtime"}, "plain.batch_predict": {"queue": "batch"}},
)

if "BENCH_VISIBILITY_S" in os.environ:  # for one row of RELIABILITY.md, because the default is an hour
    app.conf.broker_transport_options = {"visibility_timeout": float(os.environ["BENCH_VISIBILITY_S"])}

if "BENCH_START_METHOD" in os.environ:  # from Celery 5.7 on: how the prefork pool starts its processes
    app.conf.worker_pool_start_method = os.environ["BENCH_START_METHOD"]

answer: Callable[[list[Any]], list[Any]]


@worker_process_init.connect
def load_model(**_: Any) -> None:
    """Load the model once, when the worker starts."""
    global answer  # noqa: PLW0603 (as in every tutorial)
    answer = model.answering(os.environ["BENCH_MODEL"])


@app.task(name="plain.predict", autoretry_for=(RuntimeError,), max_retries=2)
def predict(row: Any) -> Any:
    """Answer one row."""
    return answer([row])[0]


@app.task(name="plain.batch_predict", autoretry_for=(RuntimeError,), max_retries=1)
def batch_predict(rows: list[Any]) -> list[Any]:
    """Answer a chunk of rows."""
    return answer(rows)
