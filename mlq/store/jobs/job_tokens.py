"""Job tokens: a message may say that it is a chunk of a job; the job's record tells whether its sender sent it.

Any client can write the header that names a job, and so could file answers that no worker gave. The sender of a job
makes a token, keeps it in the job's record, which clients may not read, and sends it with each chunk.

A job may be sent by a version of mlq that knows no token, in turns with this one. What that sends carries none; then
only the number of the chunk tells, which must be one that was sent.
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
"""Jobs whose token is not read again for each message."""

_take_over: Final = Script("jobs/take_over")

log = logging.getLogger("mlq.results")


def take_over(store: Redis, job_id: str, sender: str) -> str:
    """Become the sender of a job: whoever was before is refused from now on. Give the job's token."""
    return cast("bytes", _take_over(store, [keys.job(job_id)], [sender, secrets.token_hex(16)])).decode()


class JobTokens:
    """Knows which messages are of the job that they name. `open_store` opens the server of the records, when needed.

    Safe to use from several threads, and after a fork. The store stays open.
    """

    def __init__(self, open_store: Callable[[], AbstractContextManager[Redis]]) -> None:
        self._open_store = open_store
        self._opened = ExitStack()
        self._store: Redis | None = None
        self._tokens: OrderedDict[str, str] = OrderedDict()

    def vouches(self, place: JobChunkRef) -> bool:
        """Tell whether the sender of the job has sent this chunk; if not, the log says why.

        Raises redis.RedisError, also where the records cannot be reached now.
        """
        known = self._tokens.get(place.job)
        if known is not None and place.token is not None and compare_digest(known, place.token):
            return True
        why_not = self._why_not(place)
        if why_not is not None:
            log.warning("a message says that it is chunk %d of job %s, and is not: %s", place.chunk, place.job, why_not)
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
            return None  # sent by a version of mlq that knows no token
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
            except MlqError as exc:  # whoever asks waits for a server that is away, and tries again
                raise RedisConnectionError(exc.message) from exc
        return self._store
