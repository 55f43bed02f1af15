"""The result backends inside a worker: what is of a job is filed under it; what is claimed waits for its end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from celery.app import backends
from celery.backends.base import DisabledBackend
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


_OURS: Final = "ClaimBackend is for mlq's own workers"

log = logging.getLogger("mlq.results")


class FilingBackend(RedisBackend):
    """Celery's Redis backend, on any server. The end of a job's task goes to its job instead of a key of its own.

    A message that names a job and is not of it ends as any other; `tokens` tells. Its client waits for a server that is
    away or full: see patient_client.py. `ledger` is that of this process, where messages are claimed.
    """

    ledger: ClassVar[Ledger | None] = None
    tokens: ClassVar[JobTokens | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stock: Any = self
        found = stock._transport_options.get(OPTION)  # noqa: SLF001 (Celery's own way to its options)
        if found is not None:  # the URL is in a file: the pool asks for the password whenever it connects
            given = {k: v for k, v in stock.connparams.items() if k not in {"username", "password"}}
            provider = RedisCredentials(found, given.get("host"), given.get("port"))
            stock.connparams = {**given, "credential_provider": provider}

    def _get_client(self) -> type[PatientRedis]:
        """Name the class of the client, also of what Sentinel finds."""
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
        """Call each errback; with Celery 5.6 one that is run in this process and raises would end the worker."""
        stock: Any = super()
        for errback in request.errbacks or ():
            alone = copy(request)
            alone.errbacks = [errback]
            try:
                stock._call_task_errbacks(alone, exc, traceback)  # noqa: SLF001 (what this replaces)
            except Exception as raised:  # noqa: BLE001 (it is the user's code; the task has failed already)
                log.warning("an errback of task %s raised %s", request.id, type(raised).__name__)

    def on_chord_part_return(self, request: Any, state: str, result: Any, *args: Any, **kwargs: Any) -> None:
        """Count a part of a chord; what was counted is deleted when its end is recorded, and the body published."""
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

    def vouches(self, place: JobChunkRef) -> bool:
        """Tell whether the message that names this place is a chunk of that job."""
        if self.tokens is None:
            raise ImproperlyConfigured(_OURS)
        stock: Any = self
        return bool(stock.ensure(self.tokens.vouches, (place,)))

    def _place(self, request: Any) -> JobChunkRef | None:
        """Find the job of a running task; what claimed it has checked the header, other transports have not."""
        said = {name: getattr(request, name, None) for name in (JOB_HEADER, TOKEN_HEADER)}
        try:
            place = job_result.place_of(said)
        except ValueError:
            return None
        return place if place is not None and self.vouches(place) else None

    def file(self, place: JobChunkRef, state: str, result: Any) -> None:
        """File the end of a job's task by itself."""
        stock: Any = self
        stock.ensure(
            job_results.file, (stock.client, job_result.answer_of(place, job_result.end_of(place, state, result)))
        )


class FilingSentinelBackend(FilingBackend, SentinelBackend):
    """The same for servers that Sentinel finds."""


class ClaimBackend(FilingBackend):
    """Celery's Redis backend, where the results are on the broker's server.

    Celery stores, then acknowledges; a death in between would run the task again, and its links twice. So a final
    state is kept in the ledger and recorded together with the claim's end; other states are stored at once, but
    only while the claim is held: a worker that was declared dead overwrites nothing.
    """

    claims: ClassVar[Claims | None] = None

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        if self.ledger is None or self.claims is None:
            raise ImproperlyConfigured(_OURS)
        claim = self.ledger.claim_of(task_id)
        if claim is None and not (state in self.READY_STATES and self.ledger.is_collecting):
            # Another worker's task, or one that was acknowledged before it ran.
            return super()._store_result(task_id, result, state, traceback, request=request, **kwargs)
        stock: Any = self
        place = self._place(request)
        if place is not None:
            answer = job_result.answer_of(place, job_result.end_of(place, state, result), self.db)
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
            except ResponseError as exc:  # Celery would take it for the task's own failure
                if state != STARTED:
                    raise
                log.debug("STARTED is not written: %s", exc)
        return result

    def get(self, key: str) -> Any:
        """Read a key; what the task that ends here is about to leave there is there already."""
        kept = self.ledger.answer_at(bytes_to_str(key)) if self.ledger is not None else None
        return super().get(key) if kept is None else kept.payload

    def mget(self, keys: list[str]) -> list[Any]:
        """Read several keys, as `get` does."""
        found = super().mget(keys)
        kept = [None if self.ledger is None else self.ledger.answer_at(bytes_to_str(key)) for key in keys]
        return [value if answer is None else answer.payload for value, answer in zip(found, kept, strict=True)]

    def add_to_chord(self, group_id: str, result: Any) -> None:
        """Let a chord grow by a part: with the end of the task that adds it, where the part is published with that."""
        if self.ledger is None or not self.ledger.keep_addition(self._chords(self.ledger).addition(group_id)):
            super().add_to_chord(group_id, result)

    def on_chord_part_return(self, request: Any, state: str, result: Any, *args: Any, **kwargs: Any) -> None:
        """Keep a part of a chord until its end is recorded: it is counted in the same step."""
        if not request.group or not request.id:
            return
        if self.ledger is None:
            raise ImproperlyConfigured(_OURS)
        part = self._chords(self.ledger).part(request, state, result)
        if not self.ledger.keep_part(request.id, part):  # acknowledged before it ran: nothing is recorded later
            RedisBackend.on_chord_part_return(self, request, state, result, *args, **kwargs)

    def _chords(self, ledger: Ledger) -> Chords:
        return Chords(self, ledger, self.db)

    def answer(self, task_id: str, payload: str | bytes) -> Answer:
        """Say where a task's result goes."""
        stock: Any = self  # the stubs know little of it
        key = stock.get_key_for_task(task_id)
        data = payload.encode() if isinstance(payload, str) else payload
        return Answer(bytes_to_str(key), data, int(stock.expires or 0), self.db)


class ClaimSentinelBackend(ClaimBackend, SentinelBackend):
    """The same for servers that Sentinel finds."""


def install_filing(tokens: JobTokens) -> None:
    """Let every app of this process file the ends of jobs' tasks, wherever in Redis its results are."""
    FilingBackend.tokens = tokens
    _serve_with(FilingBackend, FilingSentinelBackend)


def end_without_results(app: Celery, lost: Callable[[Exception], None]) -> None:
    """Give a message back whose result its backend refuses, and call `lost`: the worker must take no more.

    Celery would acknowledge it, and its answer would be lost. Reject is what the tracer lets pass. What can pass by
    itself is tried again by the backend (result_backend_always_retry), and what cannot be written as JSON is a failure.
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
            log.exception("a result cannot be kept, so this worker ends and its messages go back")
            lost(exc)
            raise Reject(exc, requeue=True) from exc

    backend.store_result = store_result


def _serve_with(plain: type[RedisBackend], sentinel: type[SentinelBackend]) -> None:
    """Let URLs of results, in every form that Celery knows for Redis, lead to these."""
    named, watched = (f"{__name__}:{found.__qualname__}" for found in (plain, sentinel))
    backends.BACKEND_ALIASES.update({"redis": named, "rediss": named, "sentinel": watched})


def install(claims: Claims, ledger: Ledger, *, answers_too: bool) -> None:
    """Let every app of this process count chords by the claims, and with `answers_too` store results through them."""
    ClaimBackend.claims, FilingBackend.ledger = claims, ledger
    if answers_too:
        _serve_with(ClaimBackend, ClaimSentinelBackend)
