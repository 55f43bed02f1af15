"""Job: what was submitted, recorded so that another process can collect the answers later."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from mlq import keys
from mlq.jobs.chunk import Chunk
from mlq.jobs.row import Row, RowError

if TYPE_CHECKING:
    from redis import Redis

KEPT_S: Final = 7 * 24 * 3600
"""The record outlives the answers, whose own time runs from when they are given."""


@dataclass(frozen=True)
class Job:
    """A submitted file. `single`: its one row went to mlq.predict, alone. `is_task`: a task that no file made."""

    id: str
    queue: str
    single: bool
    chunks: tuple[Chunk, ...]
    is_task: bool = False

    @property
    def rows(self) -> int:
        """How many rows the file has, malformed ones included."""
        return sum(len(c.rows) for c in self.chunks)

    @property
    def tasks(self) -> int:
        """How many messages it was sent as."""
        return sum(1 for c in self.chunks if not c.unanswerable)

    def task_id(self, chunk: Chunk) -> str:
        """Name a chunk's task: the same for the same chunk, whoever asks."""
        return self.id if self.is_task else f"{self.id}.{chunk.index}"


def save(client: Redis, job: Job) -> None:
    """Record a job without its inputs: ids and errors are what the output needs."""
    sent_at = time.time()
    fields = {str(c.index): orjson.dumps([_record(r) for r in c.rows]) for c in job.chunks}
    fields["head"] = orjson.dumps({"queue": job.queue, "single": job.single, "sent_at": sent_at})
    with client.pipeline(transaction=True) as pipe:
        pipe.hset(keys.job(job.id), items=[part for field in fields.items() for part in field])
        pipe.expire(keys.job(job.id), KEPT_S)
        pipe.zadd(keys.JOBS, {job.id: sent_at})
        pipe.zremrangebyscore(keys.JOBS, 0, sent_at - KEPT_S)
        pipe.execute()


def find(client: Redis, job_id: str) -> Job | None:
    """Read a job's record back; its rows carry no inputs."""
    fields = cast("dict[bytes, bytes]", client.hgetall(keys.job(job_id)))
    if not fields:
        return None
    head = orjson.loads(fields.pop(b"head"))
    chunks = sorted((int(index), orjson.loads(rows)) for index, rows in fields.items())
    return Job(job_id, head["queue"], head["single"], tuple(_chunks(chunks)))


def of_task(task_id: str) -> Job:
    """Treat any client's task as a job of one row, whose answer is the task's result."""
    return Job(task_id, "", single=True, chunks=(Chunk(0, (Row(0, task_id),)),), is_task=True)


def recent(client: Redis) -> list[str]:
    """List the ids of recorded jobs, the latest first."""
    return [i.decode() for i in cast("list[bytes]", client.zrevrange(keys.JOBS, 0, -1))]


def _record(row: Row) -> list[Any]:
    """Write a row as [id], or [id, error]."""
    return [row.id] if row.error is None else [row.id, asdict(row.error)]


def _chunks(records: Sequence[tuple[int, list[list[Any]]]]) -> Iterator[Chunk]:
    row_index = 0
    for index, rows in records:
        found = []
        for row_id, *error in rows:
            found.append(Row(row_index, row_id, error=RowError(**error[0]) if error else None))
            row_index += 1
        yield Chunk(index, tuple(found))
