"""The result backends of a worker: results of a job go to the job, and a claimed task's with the end of its claim."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from celery.app import backends
from celery.backends.base import DisabledBackend, KeyValueStoreBackend
from celery.backends.redis import RedisBackend, SentinelBackend
from celery.exceptions import ImproperlyConfigured, Reject
from celery.states import STARTED
from kombu.exceptions import EncodeError
from kombu.utils.encoding import bytes_to_str
from redis.exceptions import ResponseError

from mlq.broker.credentials import OPTION, RedisCredentials
from mlq.engine.celery.chords import Chords
from mlq.engine.celery.patient_client import PatientRedis
from mlq.protocol import job_result
from mlq.protocol.names import JOB_HEADER, TOKEN_HEADER
from mlq.protocol.result import Answer
from mlq.store.claims.completion import Completion
from mlq.store.jobs import job_results

if TYPE_CHECKING:
    from celery import Celery

    from mlq.engine.ledger import Ledger
    from mlq.protocol.job_result import JobChunkRef
    from mlq.store.claims.claims import Claims
    from mlq.store.jobs.job_tokens import JobTokens


_ONLY_IN_WORKERS: Final = "ClaimBackend works in mlq's workers only"

log = logging.getLogger("mlq.results")


class FilingBackend(RedisBackend):
    """Celery's Redis backend, on any server. The result of a job's task goes to the job instead of a key of its own.

    A task whose message names a job without the job's token ends like any other task. The client of this backend waits
    for a server that is away or full: see patient_client.py.
    """

    ledger: ClassVar[Ledger | None] = None
    """The ledger of this process, if it claims messages."""

    tokens: ClassVar[JobTokens | None] = None
    """Verifies that a message belongs to the job that it names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stock: Any = self
        found = stock._transport_options.get(OPTION)  # noqa: SLF001 (Celery has no public name for its options)
        if found is not None:  # the URL is in a file: the pool reads the password for each connection
            given = {k: v for k, v in stock.connparams.items() if k not in {"username", "password"}}
            provider = RedisCredentials(found, given.get("host"), given.get("port"))
            stock.connparams = {**given, "credential_provider": provider}

    def _get_client(self) -> type[PatientRedis]:
        """Return the class of the client; Sentinel uses it, too."""
        return PatientRedis

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        place = self._place(request)
        if place is None:
            return super()._store_result(task_id, result, state, traceback, request=request, **kwargs)  # type: ignore[misc]
        if state in self.READY_STATES:
            self.file(place, state, result)
        return result

    def _call_task_errbacks(self, request: Any, exc: BaseException, traceback: Any) -> None:
        """Call each errback separately: in Celery 5.6, one that runs in this process and raises ends the worker."""
        stock: Any = super()
        for errback in request.errbacks or ():
            alone = copy(request)
            alone.errbacks = [errback]
            try:
                stock._call_task_errbacks(alone, exc, traceback)  # noqa: SLF001 (the method that this one replaces)
            except Exception as raised:  # noqa: BLE001 (it is the user's code; the task has failed already)
                log.warning(
                    "an errback of task %s raised %s",
                    request.id,
                    type(raised).__name__,
                    extra={"action": "errback_failed"},
                )

    def on_chord_part_return(self, request: Any, state: str, result: Any, *args: Any, **kwargs: Any) -> None:
        """Count a part of a chord; the counts are deleted after its end is recorded and the body is published."""
        if not request.group or not request.id:
            return
        claim = self.ledger.claim_of(request.id) if self.ledger is not None else None
        if self.ledger is None or claim is None:  # acknowledged before it ran, or from another broker
            super().on_chord_part_return(request, state, result, *args, **kwargs)
            return
        chords = Chords(self, self.ledger, self.db)
        with self.ledger.following(request.id):
            part = chords.count_away(request, state, result, Completion(claim))
        if part is not None:
            self.ledger.keep_for_afterwards(request.id, partial(chords.forget, part))

    @property
    def db(self) -> int:
        """The database that holds the results."""
        stock: Any = self
        return int(stock.connparams.get("db") or 0)

    def belongs_to_job(self, place: JobChunkRef) -> bool:
        """Return whether the message that names this place is a chunk of that job."""
        if self.tokens is None:
            raise ImproperlyConfigured(_ONLY_IN_WORKERS)
        stock: Any = self
        return bool(stock.ensure(self.tokens.belongs_to_job, (place,)))

    def _place(self, request: Any) -> JobChunkRef | None:
        """Return the job of a running task. The claimer has checked the header, other transports have not."""
        headers = {name: getattr(request, name, None) for name in (JOB_HEADER, TOKEN_HEADER)}
        try:
            place = job_result.job_chunk_of(headers)
        except ValueError:
            return None
        return place if place is not None and self.belongs_to_job(place) else None

    def file(self, place: JobChunkRef, state: str, result: Any) -> None:
        """Store the end of a job's task at once, without a claim."""
        stock: Any = self
        stock.ensure(
            job_results.file, (stock.client, job_result.answer_of(place, job_result.chunk_result(place, state, result)))
        )


class FilingSentinelBackend(FilingBackend, SentinelBackend):
    """FilingBackend for servers that Sentinel finds."""


class ClaimBackend(FilingBackend):
    """Celery's Redis backend, for results on the broker's server.

    Celery stores, then acknowledges. If the worker died in between, the task would run again, and its links twice. So a
    final state is kept in the ledger, and recorded together with the end of the claim. Other states are stored at once,
    but only while the claim is held, so a worker that lost its lease overwrites nothing.
    """

    claims: ClassVar[Claims | None] = None

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        if self.ledger is None or self.claims is None:
            raise ImproperlyConfigured(_ONLY_IN_WORKERS)
        claim = self.ledger.claim_of(task_id)
        if claim is None and not (state in self.READY_STATES and self.ledger.is_collecting):
            # The task of another worker, or one that was acknowledged before it ran.
            return super()._store_result(task_id, result, state, traceback, request=request, **kwargs)
        stock: Any = self
        place = self._place(request)
        if place is not None:
            answer = job_result.answer_of(place, job_result.chunk_result(place, state, result), self.db)
        else:
            meta = stock._get_result_meta(result=result, state=state, traceback=traceback, request=request)  # noqa: SLF001
            answer = self.answer(task_id, self.encode({**meta, "task_id": task_id}))
        if claim is None:
            self.ledger.keep_other_answer(answer)
        elif state in self.READY_STATES:
            self.ledger.keep_answer(task_id, answer)
        elif place is None:
            try:
                self.ensure(self.claims.record, (claim, answer))
            except ResponseError as exc:  # Celery would store it as the failure of the task
                if state != STARTED:
                    raise
                log.debug("STARTED is not written: %s", exc, extra={"action": "started_not_stored"})
        return result

    def get(self, key: str) -> Any:
        """Read a key, including a result that the task which ends in this thread has not stored yet."""
        kept = self.ledger.answer_at(bytes_to_str(key)) if self.ledger is not None else None
        return super().get(key) if kept is None else kept.payload

    def mget(self, keys: list[str]) -> list[Any]:
        """Read several keys, as `get` does."""
        found = super().mget(keys)
        kept = [None if self.ledger is None else self.ledger.answer_at(bytes_to_str(key)) for key in keys]
        return [value if answer is None else answer.payload for value, answer in zip(found, kept, strict=True)]

    def add_to_chord(self, group_id: str, result: Any) -> None:
        """Let a chord grow by a part, together with the end of the task that adds it, if that publishes the part."""
        if self.ledger is None or not self.ledger.keep_addition(self._chords(self.ledger).addition(group_id)):
            super().add_to_chord(group_id, result)

    def on_chord_part_return(self, request: Any, state: str, result: Any, *args: Any, **kwargs: Any) -> None:
        """Keep a part of a chord until its end is recorded: the same step counts it."""
        if not request.group or not request.id:
            return
        if self.ledger is None:
            raise ImproperlyConfigured(_ONLY_IN_WORKERS)
        part = self._chords(self.ledger).part(request, state, result)
        if not self.ledger.keep_part(request.id, part):  # acknowledged before it ran, so no end is recorded later
            RedisBackend.on_chord_part_return(self, request, state, result, *args, **kwargs)

    def _chords(self, ledger: Ledger) -> Chords:
        return Chords(self, ledger, self.db)

    def answer(self, task_id: str, payload: str | bytes) -> Answer:
        """Return the result of a task with the key where it is stored."""
        stock: Any = self  # the stubs lack most of its names
        key = stock.get_key_for_task(task_id)
        data = payload.encode() if isinstance(payload, str) else payload
        return Answer(bytes_to_str(key), data, int(stock.expires or 0), self.db)


class ClaimSentinelBackend(ClaimBackend, SentinelBackend):
    """ClaimBackend for servers that Sentinel finds."""


def install_filing(tokens: JobTokens) -> None:
    """Let all apps of this process store results of jobs' tasks under the job, on any Redis server."""
    FilingBackend.tokens = tokens
    _serve_with(FilingBackend, FilingSentinelBackend)


def end_without_results(app: Celery, lost: Callable[[Exception], None]) -> None:
    """Requeue a message whose result the backend refuses, and call `lost`: the worker must claim no more.

    Celery would acknowledge the message, and its result would be lost. The tracer lets Reject pass. The backend itself
    retries transient failures (result_backend_always_retry), and a result that JSON cannot represent fails its task.
    """
    backend: Any = app.backend
    if isinstance(backend, (ClaimBackend, DisabledBackend)):
        return
    stock = backend.store_result

    def store_result(*args: Any, **kwargs: Any) -> Any:
        try:
            return stock(*args, **kwargs)
        except EncodeError:
            raise
        except Exception as exc:
            log.exception(
                "a result cannot be stored, so this worker ends and its messages go back",
                extra={"action": "results_lost"},
            )
            lost(exc)
            raise Reject(exc, requeue=True) from exc

    backend.store_result = store_result


def keeps_result(backend: Any, task_id: str) -> bool:
    """Store a test result in a backend of Celery, once and without retries, read it and delete it.

    True also for a backend that does not keep results but sends them to the client (rpc://), or that cannot be read.
    Raises what the backend raises.
    """
    if not hasattr(backend, "_store_result"):
        return True
    backend._store_result(task_id, None, "SUCCESS")  # noqa: SLF001 (store_result would retry without end)
    is_kept = not isinstance(backend, KeyValueStoreBackend) or backend.get(backend.get_key_for_task(task_id))
    backend._forget(task_id)  # noqa: SLF001 (it belongs to _store_result)
    return bool(is_kept)


def _serve_with(plain: type[RedisBackend], sentinel: type[SentinelBackend]) -> None:
    """Use these classes for result URLs, in each form that Celery knows for Redis."""
    named, watched = (f"{__name__}:{found.__qualname__}" for found in (plain, sentinel))
    backends.BACKEND_ALIASES.update({"redis": named, "rediss": named, "sentinel": watched})


def install(claims: Claims, ledger: Ledger, *, answers_too: bool) -> None:
    """Let all apps of this process count chords with claims, and with `answers_too` store results with them, too."""
    ClaimBackend.claims, FilingBackend.ledger = claims, ledger
    if answers_too:
        _serve_with(ClaimBackend, ClaimSentinelBackend)
