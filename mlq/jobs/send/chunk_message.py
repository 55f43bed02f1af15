"""Chunk message: a chunk in the form of Celery's protocol 2, as kombu keeps a message in Redis.

It is written here because Celery takes longer to write a message than a worker takes to run it. A test compares this
form with Celery's. The body is text, not base64: kombu and Celery read both, and packed rows are base64 already.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mlq.jobs.chunk import Chunk
from mlq.protocol import json_text, names
from mlq.protocol.job_result import JobChunkRef
from mlq.protocol.packing import pack
from mlq.store.jobs.record import Job

_ORIGIN: Final = f"gen{os.getpid()}@{socket.gethostname()}"
_FOLLOWS: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@dataclass(frozen=True)
class ChunkMessage:
    """The task that runs a chunk, and its message."""

    chunk: Chunk

    taken: int
    """Rows of the input up to the end of this chunk."""

    ref: JobChunkRef

    task: str | None
    """The name of the task. None if no row of the chunk can be sent: then it is recorded, so that its errors get their
    lines, and not sent."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    shown: str
    """What monitors see of the arguments."""

    queue: str
    priority: int | None

    sent_at: float
    """Unix time in seconds."""

    keep_result: bool
    """True if the worker stores the result for the job; False if there is no result backend."""

    raw: bytes = b""
    """The message as the queue holds it; empty without a task."""

    @property
    def id(self) -> str:
        """The id of the task."""
        return f"{self.ref.job}.{self.ref.chunk}"

    def encode(self) -> bytes:
        """Write the message. Raises TypeError as encode_body does."""
        body = encode_body(self.args, self.kwargs).decode()
        # The headers come first: the script that claims looks for some of them.
        return json_text.dumps_strict(
            {
                "headers": {**self.celery_headers(), **self.headers()},
                "body": body,
                "content-type": "application/json",
                "content-encoding": "utf-8",
                "properties": {
                    "correlation_id": self.id,
                    "reply_to": "",
                    "delivery_mode": 2,
                    "delivery_info": {"exchange": "", "routing_key": self.queue},
                    "priority": self.priority or 0,
                    "body_encoding": None,
                    "delivery_tag": str(uuid.uuid4()),
                },
            }
        )

    def headers(self) -> dict[str, Any]:
        """Return mlq's own headers."""
        ours: dict[str, Any] = {names.SENT_AT_HEADER: self.sent_at, names.ROWS_HEADER: self.chunk.sent}
        if not self.keep_result:
            return ours
        token = {} if self.ref.token is None else {names.TOKEN_HEADER: self.ref.token}
        return {**ours, names.JOB_HEADER: self.ref.header, **token}

    def celery_headers(self) -> dict[str, Any]:
        """Return Celery's headers."""
        return {
            "lang": "py",
            "task": self.task,
            "id": self.id,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": self.id,
            "parent_id": None,
            "argsrepr": self.shown,
            "kwargsrepr": "{}",
            "origin": _ORIGIN,
            "ignore_result": False,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        }


def message_of(
    job: Job, chunk: Chunk, *, taken: int, priority: int | None, sent_at: float, keep_result: bool
) -> ChunkMessage:
    """Return the message of a chunk. Raises TypeError as encode_body does."""
    task: str | None = None
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    shown, queue = "", job.queue
    if chunk.inputs and job.kind == "rows":
        task, args, shown = names.BATCH_PREDICT, (pack(chunk.inputs),), f"({chunk.sent} rows)"
    elif chunk.inputs and job.kind == "single":
        task, args, shown = names.PREDICT, tuple(chunk.inputs), "(1 row)"
    elif chunk.inputs:
        (given,) = chunk.inputs
        task, args, kwargs, shown = given["task"], given.get("args", ()), given.get("kwargs", {}), "(a row of a job)"
        queue, priority = given.get("queue") or job.queue, given.get("priority", priority)
    ref = JobChunkRef(job.id, chunk.number, chunk.sent if job.kind == "rows" else None, job.token)
    message = ChunkMessage(chunk, taken, ref, task, args, kwargs, shown, queue, priority, sent_at, keep_result)
    return message if task is None else replace(message, raw=message.encode())


def encode_body(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Write the body of a message. Raises TypeError for arguments that JSON cannot hold, or that workers refuse."""
    body = json_text.dumps_strict([args, kwargs, _FOLLOWS])
    if json_text.is_deeper(body):
        message = f"nested deeper than {json_text.MOST_LEVELS} levels"
        raise TypeError(message)
    return body
