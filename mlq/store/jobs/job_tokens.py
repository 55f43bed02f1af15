"""Job tokens: the check that a message which claims to be a chunk of a job comes from the sender of the job.

Any client can write the header that names a job, and could so add results of its own to the job. The sender of a job
therefore creates a token, keeps it in the job's record, which such clients may not read, and sends it with each chunk.

An older version of mlq without tokens may send a part of the job. Its chunks carry no token; for them the only check is
that the chunk's number is one that was sent.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from hmac import compare_digest
from typing import TYPE_CHECKING, Final, cast

from mlq.broker.script import Script
from mlq.errors import MlqError
from mlq.protocol import keys

if TYPE_CHECKING:
    from redis import Redis

    from mlq.protocol.job_result import JobChunkRef

_FIELDS: Final = ("kind", "next", "sender", "token", "token_from", "token_sender")
_REMEMBERED: Final = 256
"""Jobs whose token is cached, so it is not read for each message."""

log = logging.getLogger("mlq.results")

_take_over: Final = Script("jobs/take_over")


def _run_take_over(store: Redis, *, job_id: str, sender: str, new_token: str) -> bytes:
    return cast("bytes", _take_over(store, [keys.job(job_id)], [sender, new_token]))


def take_over(store: Redis, job_id: str, sender: str) -> str:
    """Become the sender of a job, in place of any earlier sender, whose writes are refused; return the job's token."""
    return _run_take_over(store, job_id=job_id, sender=sender, new_token=secrets.token_hex(16)).decode()


class JobTokens:
    """Checks whether messages belong to the job that they name. It is safe in several threads and after a fork.

    `open_store` opens the server of the jobs' records; it is called when first needed, and the store stays open.
    """

    def __init__(self, open_store: Callable[[], AbstractContextManager[Redis]]) -> None:
        self._open_store = open_store
        self._opened = ExitStack()
        self._store: Redis | None = None
        self._tokens: OrderedDict[str, str] = OrderedDict()

    def belongs_to_job(self, place: JobChunkRef) -> bool:
        """Return True if the sender of the job has sent this chunk; otherwise log the reason and return False.

        Raises redis.RedisError, also if the records cannot be reached now.
        """
        known = self._tokens.get(place.job)
        if known is not None and place.token is not None and compare_digest(known, place.token):
            return True
        why_not = self._why_not(place)
        if why_not is not None:
            log.warning(
                "a message claims to be chunk %d of job %s and is not: %s",
                place.chunk,
                place.job,
                why_not,
                extra={"action": "job_chunk_rejected"},
            )
        return why_not is None

    def _why_not(self, place: JobChunkRef) -> str | None:
        found = cast("list[bytes | None]", self._records().hmget(keys.job(place.job), list(_FIELDS)))
        kind, following, sender, token, token_from, issued_to = (None if f is None else f.decode() for f in found)
        if kind is None:
            return "no such job is recorded"
        if token is not None and place.token is not None and compare_digest(token, place.token):
            self._remember(place.job, token)
            return None
        if place.chunk >= int(following or 0):
            return f"{following or 0} chunks of it were sent"
        if token is None or sender != issued_to or place.chunk < int(token_from or 0):
            return None  # sent by a version of mlq without tokens
        return "it does not carry the job's token"

    def _remember(self, job: str, token: str) -> None:
        self._tokens[job] = token
        while len(self._tokens) > _REMEMBERED:
            self._tokens.popitem(last=False)

    def _records(self) -> Redis:
        from redis.exceptions import ConnectionError as RedisConnectionError

        if self._store is None:
            try:
                self._store = self._opened.enter_context(self._open_store())
            except MlqError as exc:  # the caller retries on a redis-py error until the server is back
                raise RedisConnectionError(exc.message) from exc
        return self._store
