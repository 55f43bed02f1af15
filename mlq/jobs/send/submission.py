"""Submission: makes a job of the options and the input of `mlq submit`, or finds the job to continue."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from mlq.errors import NoSuchFile, UsageError
from mlq.jobs.collect import output, resumption, sidecar
from mlq.jobs.collect.resumption import Held
from mlq.jobs.collect.sidecar import Sidecar
from mlq.jobs.connections import JobConnections
from mlq.jobs.errors import JobExists, NotResumable
from mlq.jobs.flow_control import Pressure
from mlq.jobs.input.source import Once, Peeked, Source
from mlq.jobs.input.sources import Input
from mlq.jobs.input.validation import check
from mlq.jobs.row import Naming, StreamNaming
from mlq.protocol.job_result import is_job_id
from mlq.settings.config import Settings
from mlq.store.jobs import record
from mlq.store.jobs.record import Job, Kind

if TYPE_CHECKING:
    from mlq.jobs.send.destinations import QueueCheck

__all__ = ["Plan", "Request", "attach", "begin_output", "is_job_id", "planned"]

_LARGEST_BYTES: Final = 2**24
"""Bytes of a pipe that are read to learn whether it holds a single row."""


@dataclass(frozen=True)
class Request:
    """The options of `mlq submit` that concern the rows."""

    input: Input
    queue: str | None = None
    id_field: str | None = None
    tasks: bool = False
    job_id: str | None = None
    create_queue: bool = False


@dataclass(frozen=True)
class Plan:
    """A job and the source of its rows."""

    job: Job
    source: Source
    request: Request

    naming: Naming = field(default_factory=Naming)
    """Gives the rows their ids."""

    settled: bytes = b""
    """A byte for each of the first rows; a row whose byte is 1 is not sent again."""

    held: Held | None = None
    """The rows that the output has from an earlier run."""

    sidecar: Sidecar | None = None
    """What stands beside the output; None if the output is not a file."""

    queues: QueueCheck | None = None
    """Which queues rows may name; None: any."""

    @property
    def is_piped(self) -> bool:
        """Whether the rows can be read once only."""
        return self.request.input.path is None


@contextmanager
def planned(request: Request, settings: Settings) -> Iterator[Plan]:
    """Check a file, and open it at its beginning. A single row goes to mlq.predict on the most urgent queue.

    Raises NoSuchFile, NotJson, NotText, NotReadable, MissingExtra, DuplicateIds, UnknownIdField.
    """
    given = request.input
    if given.path is not None:
        checked = check(given, request.id_field)
        job = _job(request, settings, checked.rows, _fingerprint(request, checked.fingerprint))
        with given.opened() as source:
            yield Plan(job, source, request, Naming(request.id_field, checked.taken))
        return
    with given.opened() as source:
        first = source.take(2, _LARGEST_BYTES)  # one row alone is a request that a person waits for, more are a file
        if len(first) == 1:
            first += source.take(1, _LARGEST_BYTES)
        rows = len(first) if len(first) < 2 else None  # noqa: PLR2004 (see above)
        job = _job(request, settings, rows, secrets.token_hex(16))
        rest = Once(source, len(first), f"mlq result {job.id} --wait")
        yield Plan(job, Peeked(first, rest), request, StreamNaming(request.id_field))


def attach(plan: Plan, connections: JobConnections, say: Callable[[str], None]) -> Plan:
    """Record the job once the broker has room. If it was submitted before, the rows that were sent are settled.

    Raises JobExists for a job of this id with other rows, UsageError for one that was cancelled.
    """
    store, job = connections.store, plan.job
    Pressure(store, say).wait()
    if record.create(store, job):
        return plan
    if record.fingerprint(store, job.id) != job.fingerprint:
        raise JobExists(id=job.id)
    if record.is_cancelled(store, job.id):
        raise UsageError(what=f"job {job.id} was cancelled", fix="submit it under another --job-id")
    if plan.held is not None:
        return plan
    return replace(plan, settled=b"\1" * record.taken_rows(store, job.id))


def begin_output(plan: Plan, path: Path, *, resumes: bool, connections: JobConnections) -> Plan:
    """Check that an output may be written. Return the plan with its sidecar, and with `resumes` without the done rows.

    Raises OutputIsInput, OutputExists, NotResumable, OtherInput, NoSuchFile, OutputFailed.
    """
    source = plan.request.input.path
    if resumes:
        output.demand_apart(path, source)
        try:
            plan = _resumed(plan, path, connections)
        except OSError as exc:
            raise output.not_opened(path, exc) from None
    else:
        output.demand_new(path, source)
    if not path.parent.is_dir():
        raise NoSuchFile(path=path, fix="name an output file in a directory that exists")
    return plan if plan.sidecar is not None else replace(plan, sidecar=sidecar_of(plan))


def _resumed(plan: Plan, path: Path, connections: JobConnections) -> Plan:
    """Return the plan that continues an output, as its sidecar describes it; without a sidecar, the plan as it is.

    Raises OtherInput, NotResumable, JobExists.
    """
    begun, now = sidecar.read(path), sidecar_of(plan)
    if begun is None and path.exists() and path.stat().st_size:  # a command that died early leaves an empty output
        raise NotResumable(path=path, reason=f"nothing says how it was begun ({sidecar.path_of(path)} is missing)")
    if begun is None:
        return plan
    sidecar.demand_same(path, begun, now)
    held, store = resumption.scan(path), connections.store
    is_known = record.fingerprint(store, begun.job) == plan.job.fingerprint
    # A job that Redis has forgotten, that was cancelled, or whose answers have expired may still have messages in a
    # queue. Their results must not be taken for results of this run, so a new job does the rest.
    expired = connections.answers is not None and record.have_expired(store, connections.answers, begun.job)
    continues = is_known and not expired and not record.is_cancelled(store, begun.job)
    job_id = begun.job if continues else secrets.token_hex(6)
    return replace(
        plan,
        job=replace(plan.job, id=job_id),
        held=held,
        settled=bytes(state == resumption.OK for state in held.rows),
        sidecar=replace(begun, job=job_id),
    )


def sidecar_of(plan: Plan) -> Sidecar:
    """Describe from what an output is made."""
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
    """Return the encoding and the delimiter that were given. Earlier versions wrote no other fields, either."""
    reading = given.reading
    return {name: value for name in ("encoding", "delimiter") if (value := getattr(reading, name)) is not None}
