"""Record: a job's record in Redis, with which any process can continue, collect or cancel the job.

It names the process that sends the job and the one that collects it. The sender also writes a
heartbeat. If it expires before all rows are sent, the job is stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from mlq.broker import script
from mlq.broker.server_time import server_time
from mlq.protocol import keys
from mlq.protocol.job_result import KEPT_S, is_job_id
from mlq.store.errors import BrokenRecord

if TYPE_CHECKING:
    from redis import Redis

RECORD_KEPT_S: Final = 30 * 24 * 3600
"""Seconds to keep a record after its last change."""

SENDER_EXPIRES_S: Final = 20
"""Seconds after its last heartbeat at which a sender counts as gone."""

Kind: TypeAlias = Literal["rows", "single", "tasks"]
"""rows: chunks go to mlq.batch_predict; single: the one row goes to mlq.predict; tasks: each row names its task."""


@dataclass(frozen=True)
class Job:
    """A submitted file. `fingerprint` identifies its content and the options that decide what its rows are.

    `token` is what its chunks carry, once it has a sender (see store/jobs/job_tokens.py).
    """

    id: str
    queue: str
    kind: Kind
    fingerprint: str
    rows: int | None
    source: str = "-"
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Progress:
    """How far a job is. `taken`: rows of its input up to the end of the last chunk; `next`: number of the next chunk.

    `rows` is None while a pipe is read. `kept_s`: seconds for which uncollected results are kept.
    `abandoned`: the process that sent it has ended before it had sent everything.
    """

    job: Job
    sent_at: float
    taken: int
    next: int
    tasks: int
    ok: int
    failed: int
    cancelled: bool
    uncollected: int
    kept_s: int | None
    abandoned: bool = False

    @property
    def rows(self) -> int:
        """The number of rows that are known so far."""
        return self.taken if self.job.rows is None else self.job.rows

    @property
    def done(self) -> int:
        """The number of rows that have a result or an error."""
        return self.ok + self.failed

    @property
    def state(self) -> Literal["running", "done", "cancelled", "stopped"]:
        """The state of the job. A stopped job continues when it is submitted again."""
        if self.cancelled:
            return "cancelled"
        if self.job.rows is not None and self.done >= self.job.rows:
            return "done"
        return "stopped" if self.abandoned else "running"


def create(store: Redis, job: Job) -> bool:
    """Record a new job; False if there is one of this id, which stays as it is."""
    key, now = keys.job(job.id), server_time(store)
    if not store.hsetnx(key, "fingerprint", job.fingerprint):
        return False
    about: dict[Any, Any] = {
        "queue": job.queue,
        "kind": job.kind,
        "source": job.source,
        "sent_at": repr(now),
        "next": 0,
        "taken": 0,
    }
    with store.pipeline(transaction=True) as pipe:
        pipe.hset(key, mapping=about if job.rows is None else {**about, "rows": job.rows})
        pipe.expire(key, RECORD_KEPT_S)
        pipe.zadd(keys.JOBS, {job.id: now})
        pipe.zremrangebyscore(keys.JOBS, 0, now - RECORD_KEPT_S)
        pipe.execute()
    return True


def complete(store: Redis, job_id: str, rows: int) -> None:
    """Record the number of rows of a job that reads a pipe, once the pipe has ended."""
    script.run_commands(store, ["HSET", keys.job(job_id), "rows", rows])


def read(store: Redis, results: Redis, job_id: str) -> Progress | None:
    """Read a job; None if there is none. `job_id` may be any text; what cannot be an id is never part of a key.

    Raises BrokenRecord.
    """
    if not is_job_id(job_id):
        return None
    with store.pipeline(transaction=False) as pipe:
        pipe.hgetall(keys.job(job_id))
        pipe.zscore(keys.CANCELLED, job_id)
        pipe.hlen(keys.chunks(job_id))
        fields, cancelled_at, uncollected = pipe.execute()
    if b"kind" not in fields:
        return None
    with results.pipeline(transaction=False) as pipe:
        pipe.hgetall(f"{keys.ends(job_id)}:tally")
        pipe.ttl(keys.ends(job_id))
        tally, kept_s = pipe.execute()
    try:
        found = _progress(job_id, fields, tally, uncollected, kept_s)
    except (ValueError, KeyError, OverflowError) as exc:
        raise BrokenRecord(job=job_id, reason=f"{type(exc).__name__}: {exc}") from None
    all_sent = found.job.rows is not None and found.taken >= found.job.rows
    sender, alive = (fields.get(name, b"").decode(errors="replace") or None for name in (b"sender", b"alive"))
    gone = not all_sent and _is_sender_gone(store, job_id, sender, alive)
    return replace(found, cancelled=cancelled_at is not None, abandoned=gone)


def _progress(
    job_id: str, fields: Mapping[bytes, bytes], tally: Mapping[bytes, bytes], uncollected: int, kept_s: int
) -> Progress:
    """Read the fields of a record. Raises ValueError, KeyError, OverflowError for what mlq did not write."""
    known = {name.decode(): value.decode() for name, value in fields.items()}
    rows = known.get("rows")
    job = Job(
        id=job_id,
        queue=known["queue"],
        kind=cast("Kind", known["kind"]),
        fingerprint=known["fingerprint"],
        rows=None if rows is None else int(rows),
        source=known["source"],
    )
    return Progress(
        job=job,
        sent_at=float(known["sent_at"]),
        taken=int(known["taken"]),
        next=int(known["next"]),
        tasks=int(known.get("tasks", 0)),
        ok=int(tally.get(b"ok", 0)),
        failed=int(tally.get(b"failed", 0)) + int(known.get("unsent", 0)),
        cancelled=False,
        uncollected=uncollected,
        kept_s=kept_s if kept_s > 0 else None,
    )


def recent(store: Redis) -> list[str]:
    """List the ids of recorded jobs, the latest first."""
    return [i.decode() for i in cast("list[bytes]", store.zrevrange(keys.JOBS, 0, -1))]


def have_expired(store: Redis, results: Redis, job_id: str) -> bool:
    """Return True if the job's results must have expired, because they were not collected in time."""
    left_alone_s = RECORD_KEPT_S - store.ttl(keys.job(job_id))
    return left_alone_s > KEPT_S and not results.exists(f"{keys.ends(job_id)}:tally")


def cancel(store: Redis, job_id: str) -> None:
    """Cancel a job, even if memory is full: workers revoke chunks that have not run, and its sender sends no more."""
    now = server_time(store)
    script.run_commands(
        store,
        ["ZADD", keys.CANCELLED, now, job_id],
        ["ZREMRANGEBYSCORE", keys.CANCELLED, 0, now - KEPT_S],
    )


def is_cancelled(store: Redis, job_id: str) -> bool:
    """Return True if a job was cancelled."""
    return store.zscore(keys.CANCELLED, job_id) is not None


def cancelled_jobs(redis: Redis) -> frozenset[str]:
    """Return the ids of all cancelled jobs."""
    return frozenset(i.decode() for i in cast("list[bytes]", redis.zrange(keys.CANCELLED, 0, -1)))


def fingerprint(store: Redis, job_id: str) -> str | None:
    """Return the fingerprint of a job's file and options; None if there is no such job."""
    found = cast("bytes | None", store.hget(keys.job(job_id), "fingerprint"))
    return None if found is None else found.decode(errors="replace")


def taken_rows(store: Redis, job_id: str) -> int:
    """Return the number of rows of the input that were sent."""
    return int(cast("bytes | None", store.hget(keys.job(job_id), "taken")) or 0)


def next_chunk(store: Redis, job_id: str) -> int:
    """Return the number of the next chunk to send."""
    return int(cast("bytes | None", store.hget(keys.job(job_id), "next")) or 0)


def uncollected_chunks(store: Redis, job_id: str) -> dict[bytes, bytes]:
    """Return the chunks that were sent and not collected yet: number to rows, as jobs/chunk.py writes them."""
    return cast("dict[bytes, bytes]", store.hgetall(keys.chunks(job_id)))


def forget_chunks(store: Redis, job_id: str, numbers: Iterable[int]) -> None:
    """Delete the rows of chunks that are collected."""
    store.hdel(keys.chunks(job_id), *map(str, numbers))


def become_collector(store: Redis, job_id: str, collector: str) -> None:
    """Name the process that collects a job, even while memory is full, because collecting makes room."""
    script.run_commands(store, ["HSET", keys.job(job_id), "collector", collector])


def collector(store: Redis, job_id: str) -> bytes | None:
    """Return the name of the process that collects a job; None if no process does."""
    return cast("bytes | None", store.hget(keys.job(job_id), "collector"))


def beat_sender(store: Redis, job_id: str, sender: str) -> None:
    """Write the heartbeat of a job's sender, even while memory is full."""
    script.run_commands(store, ["SET", keys.sender(job_id, sender), "1", "EX", SENDER_EXPIRES_S])


def forget_sender(store: Redis, job_id: str, sender: str) -> None:
    """Delete the heartbeat of a sender that has ended."""
    store.delete(keys.sender(job_id, sender))


def _is_sender_gone(store: Redis, job_id: str, sender: str | None, alive: str | None) -> bool:
    """Return True if a job's sender has ended; False also if an older version sends it, which writes no heartbeat."""
    return sender is not None and sender == alive and not store.exists(keys.sender(job_id, sender))
