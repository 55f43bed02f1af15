"""The result backends inside a worker: what is of a job is filed under it; what is claimed waits for its end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from celery.app import backends
from celery.backends.redis import RedisBackend, SentinelBackend
from celery.exceptions import ImproperlyConfigured
from celery.result import GroupResult
from kombu.utils.encoding import bytes_to_str

from mlq.broker import filing
from mlq.broker.answer import Answer
from mlq.consumer.patient_client import PatientRedis
from mlq.wire import JOB_HEADER

if TYPE_CHECKING:
    from typing_extensions import Self

    from mlq.broker.claims import Claims
    from mlq.broker.filing import Place
    from mlq.consumer.ledger import Ledger


class FilingBackend(RedisBackend):
    """Celery's Redis backend, on any server. The end of a job's task goes to its job instead of a key of its own.

    Its client waits for a server that is away or full: see patient_client.py.
    """

    def _get_client(self) -> type[PatientRedis]:
        """Name the class of the client, also of what Sentinel finds."""
        return PatientRedis

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        place = _place(request)
        if place is None:
            return super()._store_result(task_id, result, state, traceback, request=request, **kwargs)  # type: ignore[misc]
        if state in self.READY_STATES:
            self.file(place, state, result)
        return result

    def file(self, place: Place, state: str, result: Any) -> None:
        """File the end of a job's task by itself."""
        stock: Any = self
        stock.ensure(filing.file, (stock.client, filing.answer_of(place, filing.end_of(place, state, result))))


class FilingSentinelBackend(FilingBackend, SentinelBackend):
    """The same for servers that Sentinel finds."""


class ClaimBackend(FilingBackend):
    """Celery's Redis backend, where the results are on the broker's server.

    Celery stores, then acknowledges; a death in between would run the task again, and its links twice. So a final
    state is kept in the ledger and recorded together with the claim's end; other states are stored at once, but
    only while the claim is held: a worker that was declared dead overwrites nothing.
    """

    ledger: ClassVar[Ledger | None] = None
    claims: ClassVar[Claims | None] = None

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        if self.ledger is None or self.claims is None:
            raise ImproperlyConfigured("ClaimBackend is for mlq's own workers")
        claim = self.ledger.claim_of(task_id)
        if claim is None:  # somebody else's task, or one that was acknowledged before it ran
            return super()._store_result(task_id, result, state, traceback, request=request, **kwargs)
        stock: Any = self
        place = _place(request)
        if place is not None:
            answer = filing.answer_of(place, filing.end_of(place, state, result), self.db)
        else:
            meta = stock._get_result_meta(result=result, state=state, traceback=traceback, request=request)  # noqa: SLF001
            answer = self.answer(task_id, self.encode({**meta, "task_id": task_id}))
        if state in self.READY_STATES:
            self.ledger.keep_answer(task_id, answer)
        elif place is None:
            self.ensure(self.claims.record, (claim, answer))
        return result

    def on_chord_part_return(
        self,
        request: Any,
        state: str,
        result: Any,
        propagate: bool | None = None,  # noqa: FBT001 (stock's signature)
        **kwargs: Any,
    ) -> None:
        """Count a part of a chord; the last one publishes the body, and deletes what was counted.

        A part that runs again, since its worker died before the acknowledgement, must find the chord as it was: its
        place is counted once, and the keys are deleted only when the part's end, the body with it, is recorded.
        """
        stock: Any = super()
        if self.ledger is None or request.id is None or self.ledger.claim_of(request.id) is None:
            stock.on_chord_part_return(request, state, result, propagate, **kwargs)
            return
        ours: Any = self
        client, place = ours.client, request.group_index
        if request.group and place is not None and ours._chord_zset:  # noqa: SLF001 (stock's own switch)
            client.zremrangebyscore(ours.get_key_for_group(request.group, ".j"), place, place)
        keep = partial(self.ledger.keep_for_afterwards, request.id)
        self._show_part(request)
        ours.client = _Keeping(client, keep)
        try:
            stock.on_chord_part_return(request, state, result, propagate, **kwargs)
        finally:
            ours.client = client

    def _show_part(self, request: Any) -> None:
        """Store a part's result now if its group was stored: stock then joins the parts, this one among them.

        It would wait for ever for what is only recorded with its own end. That one overwrites this with the same.
        """
        ours: Any = self
        if self.ledger is None or self.claims is None or not request.group:
            return
        claim, answer = self.ledger.claim_of(request.id), self.ledger.answer_of(request.id)
        if claim is not None and answer is not None and GroupResult.restore(request.group, ours) is not None:
            ours.ensure(self.claims.record, (claim, answer))

    @property
    def db(self) -> int:
        """The database that holds the results."""
        stock: Any = self
        return int(stock.connparams.get("db") or 0)

    def answer(self, task_id: str, payload: str | bytes) -> Answer:
        """Say where a task's result goes."""
        stock: Any = self  # the stubs know little of it
        key = stock.get_key_for_task(task_id)
        data = payload.encode() if isinstance(payload, str) else payload
        return Answer(bytes_to_str(key), data, int(stock.expires or 0), self.db)


class ClaimSentinelBackend(ClaimBackend, SentinelBackend):
    """The same for servers that Sentinel finds."""


def install_filing() -> None:
    """Let every app of this process file the ends of jobs' tasks, wherever in Redis its results are."""
    _serve_with(FilingBackend, FilingSentinelBackend)


def _serve_with(plain: type[RedisBackend], sentinel: type[SentinelBackend]) -> None:
    """Let URLs of results, in every form that Celery knows for Redis, lead to these."""
    named, watched = (f"{__name__}:{found.__qualname__}" for found in (plain, sentinel))
    backends.BACKEND_ALIASES.update({"redis": named, "rediss": named, "sentinel": watched})


class _Keeping:
    """Redis as on_chord_part_return sees it: what it deletes is deleted later."""

    def __init__(self, client: Any, keep: Callable[[Callable[[], object]], None]) -> None:
        self._client = client
        self._keep = keep

    def pipeline(self) -> _KeepingPipeline:
        return _KeepingPipeline(self._client, self._keep)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class _KeepingPipeline:
    def __init__(self, client: Any, keep: Callable[[Callable[[], object]], None]) -> None:
        self._client = client
        self._keep = keep
        self._pipeline = client.pipeline()

    def delete(self, *keys: str) -> Self:
        self._keep(partial(self._client.delete, *keys))
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipeline.reset()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)


def install(claims: Claims, ledger: Ledger) -> None:
    """Let every app of this process store through the claims when its results are in Redis."""
    ClaimBackend.claims, ClaimBackend.ledger = claims, ledger
    _serve_with(ClaimBackend, ClaimSentinelBackend)


def _place(request: Any) -> Place | None:
    """Find the job of a running task; what claimed it has checked the header, other transports have not."""
    try:
        return filing.place_of({JOB_HEADER: getattr(request, JOB_HEADER, None)})
    except ValueError:
        return None
