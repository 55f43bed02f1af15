"""Submit: chunks become messages, in pipelined batches and without a subscription for each."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

from celery import Celery

from mlq import wire
from mlq.config import Settings
from mlq.jobs.chunk import Chunk, pack
from mlq.jobs.connecting import Desk
from mlq.jobs.job import Job, save
from mlq.jobs.row import Row
from mlq.packing import pack as pack_rows

_BATCH: Final = 16
"""Messages in one pipeline: enough to save round trips, few enough that workers begin while the rest is packed."""


def plan(rows: Sequence[Row], settings: Settings, *, queue: str | None, chunk_rows: int) -> Job:
    """Make a job of rows: a single row goes to mlq.predict on the most urgent queue, a file to the batch queue."""
    single = len(rows) == 1 and rows[0].error is None
    usual = settings.urgent_queue if single else settings.batch_queue
    return Job(secrets.token_hex(6), queue or usual, single, tuple(pack(rows, chunk_rows)))


def submit(at: Desk, job: Job, priority: int | None = None) -> None:
    """Record a job, then publish its chunks: whoever dies in between leaves no answer without a record."""
    save(at.store, job)
    _publish(at.app, job, {} if priority is None else {"priority": priority})


def _publish(app: Celery, job: Job, options: dict[str, Any]) -> None:
    """Publish every chunk of a job.

    Not by `send_task`: with results on it subscribes to each task's channel, and 5,000 kept tasks are 5,000
    channels. The answers are read by key instead (see collection.py).
    """
    with app.producer_or_acquire() as producer, producer.batch(_BATCH):
        for chunk in job.chunks:
            if not chunk.unanswerable:
                name, args = _call(job, chunk)
                message = app.amqp.as_task_v2(job.task_id(chunk), name, args, argsrepr=_shown(chunk))
                rows = {wire.ROWS_HEADER: len(chunk.inputs)}
                app.amqp.send_task_message(producer, name, message, queue=job.queue, headers=rows, **options)


def _call(job: Job, chunk: Chunk) -> tuple[str, tuple[Any, ...]]:
    if job.single:
        return wire.PREDICT, (chunk.inputs[0],)
    return wire.BATCH_PREDICT, (pack_rows(chunk.inputs),)


def _shown(chunk: Chunk) -> str:
    """Say what monitors see instead of the payload."""
    return f"({len(chunk.inputs)} rows)"
