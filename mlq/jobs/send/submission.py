"""Submission: what was asked for, made into a job that is new, goes on, or is done already."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from mlq.errors import NoSuchFile, UsageError
from mlq.jobs.collect import output, resumption, sidecar
from mlq.jobs.collect.resumption import Held
from mlq.jobs.collect.sidecar import Sidecar
from mlq.jobs.connections import JobConnections
from mlq.jobs.errors import JobExists, NotResumable
from mlq.jobs.input.source import Once, Peeked, Source
from mlq.jobs.input.sources import Input
from mlq.jobs.input.validation import check
from mlq.jobs.row_ids import Naming, StreamNaming
from mlq.jobs.send.back_pressure import Pressure
from mlq.protocol.job_result import is_job_id
from mlq.settings.config import Settings
from mlq.store.jobs import record
from mlq.store.jobs.record import Job, Kind

if TYPE_CHECKING:
    from mlq.jobs.send.destinations import QueueCheck

__all__ = ["Plan", "Request", "attach", "begin_output", "is_job_id", "planned"]

_SIZE: Final = 2**24


@dataclass(frozen=True)
class Request:
    """What `mlq submit` was told about the rows."""

    input: Input
    queue: str | None = None
    id_field: str | None = None
    tasks: bool = False
    job_id: str | None = None
    create_queue: bool = False


@dataclass
class Plan:
    """A job and the source of its rows. `settled` has a byte for each row that may be known: 1 is not sent again.

    `queues` says which queues rows may name; None: any.
    """

    job: Job
    source: Source
    request: Request
    settled: bytearray
    naming: Naming = field(default_factory=Naming)
    held: Held | None = None
    sidecar: Sidecar | None = None
    queues: QueueCheck | None = None

    @property
    def is_piped(self) -> bool:
        """Whether the rows come but once."""
        return self.request.input.path is None


@contextmanager
def planned(request: Request, settings: Settings) -> Iterator[Plan]:
    """Check a file, and open it from its beginning; a single row goes to mlq.predict on the most urgent queue.

    Raises NoSuchFile, NotJson, NotText, NotReadable, MissingExtra, DuplicateIds, UnknownIdField.
    """
    given = request.input
    if given.path is not None:
        checked = check(given, request.id_field)
        job = _job(request, settings, checked.rows, _fingerprint(request, checked.fingerprint))
        with given.opened() as source:
            yield Plan(job, source, request, bytearray(), Naming(request.id_field, checked.taken))
        return
    with given.opened() as source:
        first = source.take(2, _SIZE)  # one row alone is somebody's question, more are a file
        if len(first) == 1:
            first += source.take(1, _SIZE)
        rows = len(first) if len(first) < 2 else None  # noqa: PLR2004 (see above)
        job = _job(request, settings, rows, secrets.token_hex(16))
        rest = Once(source, len(first), f"mlq result {job.id} --wait")
        yield Plan(job, Peeked(first, rest), request, bytearray(), StreamNaming(request.id_field))


def attach(plan: Plan, desk: JobConnections, say: Callable[[str], None]) -> None:
    """Record a plan's job, once the broker has room; if it was submitted before, only what was not sent is left.

    Raises JobExists for a job of this id with other rows, UsageError for one that was cancelled.
    """
    Pressure(desk.store, say).wait()
    if record.create(desk.store, plan.job):
        return
    if record.fingerprint(desk.store, plan.job.id) != plan.job.fingerprint:
        raise JobExists(id=plan.job.id)
    if record.is_cancelled(desk.store, plan.job.id):
        raise UsageError(what=f"job {plan.job.id} was cancelled", fix="submit it under another --job-id")
    taken = record.taken_rows(desk.store, plan.job.id)
    if plan.held is None:
        plan.settled = bytearray(b"\1" * taken)


def resume(plan: Plan, path: Path, desk: JobConnections) -> None:
    """Go on with an output where its sidecar says how it began; start afresh where nothing is there.

    Raises OtherInput, NotResumable, JobExists.
    """
    begun, now = sidecar.read(path), sidecar_of(plan)
    if begun is None and path.exists() and path.stat().st_size:  # an empty one is all that an early death leaves
        raise NotResumable(path=path, reason=f"nothing says how it was begun ({sidecar.path_of(path)} is missing)")
    if begun is None:
        return
    sidecar.demand_same(path, begun, now)
    plan.held = resumption.scan(path)
    plan.settled = bytearray(state == resumption.OK for state in plan.held.rows)
    is_known = record.fingerprint(desk.store, begun.job) == plan.job.fingerprint
    # A job that Redis has forgotten, that was cancelled, or whose answers have expired may still have messages in a
    # queue: their chunks must not be taken for ours. It stays what it is, and another job does the rest.
    expired = desk.answers is not None and record.have_expired(desk.store, desk.answers, begun.job)
    goes_on = is_known and not expired and not record.is_cancelled(desk.store, begun.job)
    job_id = begun.job if goes_on else secrets.token_hex(6)
    plan.job = Job(job_id, plan.job.queue, plan.job.kind, plan.job.fingerprint, plan.job.rows, plan.job.source)
    plan.sidecar = sidecar.Sidecar(**{**vars(begun), "job": job_id})


def begin_output(plan: Plan, path: Path, *, resumes: bool, desk: JobConnections) -> None:
    """Make sure that an output may be written, and say beside it what it will be made of.

    Raises OutputIsInput, OutputExists, NotResumable, OtherInput, NoSuchFile, OutputFailed.
    """
    source = plan.request.input.path
    if resumes:
        output.demand_apart(path, source)
        try:
            resume(plan, path, desk)
        except OSError as exc:
            raise output.not_opened(path, exc) from None
    else:
        output.demand_new(path, source)
    if not path.parent.is_dir():
        fix = "name an output file in a directory that exists"
        raise NoSuchFile(path=path, fix=fix)
    if plan.sidecar is None:
        plan.sidecar = sidecar_of(plan)


def sidecar_of(plan: Plan) -> Sidecar:
    """Describe what an output is made of."""
    request = plan.request
    options = {"id_field": request.id_field, "tasks": request.tasks, "format": request.input.format}
    options.update(_spelled(request.input))
    return Sidecar(plan.job.id, plan.job.source, plan.job.fingerprint, plan.job.rows or 0, options)


def _job(request: Request, settings: Settings, rows: int | None, fingerprint: str) -> Job:
    kind: Kind = "tasks" if request.tasks else "single" if rows == 1 else "rows"
    usual = {"tasks": settings.default_queue, "single": settings.urgent_queue, "rows": settings.batch_queue}
    job_id = request.job_id or secrets.token_hex(6)
    return Job(job_id, request.queue or usual[kind], kind, fingerprint, rows, request.input.shown)


def _fingerprint(request: Request, content: str) -> str:
    """Make the fingerprint of an input together with the options that decide about its rows."""
    given = request.input
    options = [content, request.id_field, request.tasks, given.format.value, given.reading.inline]
    options += [f"{name}={value}" for name, value in _spelled(given).items()]
    return hashlib.blake2b(orjson.dumps(options), digest_size=16).hexdigest()


def _spelled(given: Input) -> dict[str, str]:
    """Return what was said of a text's encoding and delimiter. Nothing, where nothing was said: as earlier versions."""
    reading = given.reading
    return {name: value for name in ("encoding", "delimiter") if (value := getattr(reading, name)) is not None}
