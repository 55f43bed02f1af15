"""Message: a chunk as Celery's protocol 2 has it, in the form in which kombu keeps it in Redis.

Written here and not by Celery, which takes longer for one than a worker does; a test holds the two equal. The body
is a text, not base64: kombu and Celery read both, and packed rows are base64 already.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mlq.jobs.chunk import Chunk
from mlq.protocol import json_text, names
from mlq.protocol.job_result import JobChunkRef
from mlq.protocol.packing import pack
from mlq.store.jobs.record import Job

_ORIGIN: Final = f"gen{os.getpid()}@{socket.gethostname()}"
_FOLLOWS: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@dataclass(frozen=True)
class ChunkCall:
    """What a chunk asks for: a task, its arguments, and where it is sent. `shown` is what monitors see of those."""

    id: str
    task: str
    args: Sequence[Any]
    queue: str
    shown: str
    rows: int
    place: JobChunkRef
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    priority: int | None = None
    sent_at: float = field(default_factory=time.time)

    def headers(self, *, answered: bool) -> dict[str, Any]:
        """Give the headers that are mlq's own; unless `answered`, nobody wants to learn of the end."""
        ours: dict[str, Any] = {names.SENT_AT_HEADER: self.sent_at, names.ROWS_HEADER: self.rows}
        if not answered:
            return ours
        token = {} if self.place.token is None else {names.TOKEN_HEADER: self.place.token}
        return {**ours, names.JOB_HEADER: self.place.header, **token}


def call_of(job: Job, chunk: Chunk, priority: int | None) -> ChunkCall:
    """Say what a chunk asks for."""
    name = f"{job.id}.{chunk.number}"
    if job.kind == "rows":
        place = JobChunkRef(job.id, chunk.number, chunk.sent, job.token)
        args = (pack(chunk.inputs),)
        shown = f"({chunk.sent} rows)"
        return ChunkCall(name, names.BATCH_PREDICT, args, job.queue, shown, chunk.sent, place, priority=priority)
    place = JobChunkRef(job.id, chunk.number, None, job.token)
    (given,) = chunk.inputs
    if job.kind == "single":
        return ChunkCall(name, names.PREDICT, (given,), job.queue, "(1 row)", 1, place, priority=priority)
    queue, own = given.get("queue") or job.queue, given.get("priority", priority)
    args, kwargs = given.get("args", ()), given.get("kwargs", {})
    return ChunkCall(name, given["task"], args, queue, "(a row of a job)", 1, place, kwargs, own)


def body_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Write the body of a message. Raises TypeError for arguments that JSON cannot hold, or that workers refuse."""
    body = json_text.dumps_strict([args, kwargs, _FOLLOWS])
    if json_text.is_deeper(body):
        message = f"nested deeper than {json_text.MOST_LEVELS} levels"
        raise TypeError(message)
    return body


def raw(call: ChunkCall, *, answered: bool) -> bytes:
    """Write a message. Raises TypeError as body_of does."""
    body = body_of(call.args, call.kwargs).decode()
    # The headers come first: the script that claims looks for some of them.
    return json_text.dumps_strict(
        {
            "headers": {**protocol(call), **call.headers(answered=answered)},
            "body": body,
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "properties": {
                "correlation_id": call.id,
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": call.queue},
                "priority": call.priority or 0,
                "body_encoding": None,
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )


def protocol(call: ChunkCall) -> dict[str, Any]:
    """Give the headers that are Celery's."""
    return {
        "lang": "py",
        "task": call.task,
        "id": call.id,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": call.id,
        "parent_id": None,
        "argsrepr": call.shown,
        "kwargsrepr": "{}",
        "origin": _ORIGIN,
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
