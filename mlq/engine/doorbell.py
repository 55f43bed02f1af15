"""Doorbell: how an idle worker learns that there is work, without asking all the time.

One idle worker of those that serve the same queues watches them: Redis pushes an invalidation over its tracking
connection when one of their keys changes, whoever published. The others wait at a bell that carries no data.
Both may fail to ring; every worker looks by itself every few seconds, too.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from mlq.protocol import keys
from mlq.protocol.priorities import queue_of

if TYPE_CHECKING:
    from redis import Redis

LOOK_EVERY_S: Final = 3.0
"""How long a ring that was lost delays a message, and how often each idle worker costs the server two requests."""

_OF_TIMEOUT: Final = 0.75
"""A wait must end before the socket's time-out does: a server that says nothing for that long is away."""

_LOOKS_AT_THE_BELL: Final = 3
"""Then it asks for work, and so for the watch: whoever has it may be frozen, and the role runs out."""

_POLL_S: Final = 0.02
"""Where tracking is refused (a proxy, an ACL), the watcher asks this often instead."""

log = logging.getLogger("mlq.doorbell")


class Doorbell:
    """Waits for work on connections of its own. `watched` are what `Claims.watched` names, `bell` is its bell.

    `misplaced` are keys of another type: what is there is no work, and nobody waits for it.
    """

    def __init__(self, redis: Redis, watched: Sequence[str], bell: str) -> None:
        self._redis = redis
        timeout = redis.connection_pool.connection_kwargs.get("socket_timeout")
        self._longest_s = LOOK_EVERY_S if timeout is None else min(LOOK_EVERY_S, _OF_TIMEOUT * timeout)
        self._lists = [key for key in watched if key != keys.PAUSED]
        self._queues = sorted(set(map(queue_of, self._lists)))
        self._bell = bell
        self.misplaced: Collection[str] = ()
        self._tracking: Any = None  # redis-py's Connection, most of which is not typed
        self._refused = False

    def wait(self, *, watch: bool, seconds: float = math.inf) -> None:
        """Return when there may be work, or after so many seconds, or when it is time to ask for it again.

        Raises redis.RedisError when the server is away.
        """
        if not watch:
            self._listen_for_bell(seconds)
        elif self._refused:
            self._poll(min(seconds, self._longest_s))
        else:
            self._watch(min(seconds, self._longest_s))

    def close(self) -> None:
        """Close the tracking connection."""
        if self._tracking is not None:
            self._tracking.disconnect()
            self._tracking = None

    def _listen_for_bell(self, seconds: float) -> None:
        """Wait at the bell. To look at the lists now and then costs the server a tenth of asking for work."""
        for _ in range(_LOOKS_AT_THE_BELL):
            wait_s = min(seconds, self._longest_s)
            lists = self._open(())
            if self._redis.brpop([self._bell], timeout=wait_s) or (lists and self._redis.exists(*lists)):
                return
            seconds -= wait_s
            if seconds <= 0:
                return

    def _watch(self, seconds: float) -> None:
        """Ask whether anything is there, which is also what makes Redis track the keys; then wait for a change.

        The question comes after the tracking is on and before the wait: what arrives at any moment is either in
        the answer or rings.
        """
        from redis.exceptions import ResponseError

        try:
            connection = self._tracking or self._connect()
            # What waits in a paused queue is no work: to look again at once would be to look for ever. The lists come
            # last: a push that is read before a reply is taken for older than it.
            if not self._ask(connection, "EXISTS", *self._watched) or not self._has_work(connection):
                self._listen(connection, seconds)
        except ResponseError as exc:
            log.warning("no watching by tracking, asking every %g s instead: %s", _POLL_S, exc)
            self._refused = True
            self.close()
        except BaseException:
            self.close()
            raise

    def _has_work(self, connection: Any) -> bool:
        can_pause = keys.PAUSED not in self.misplaced
        paused = {q for q in self._queues if can_pause and self._ask(connection, "SISMEMBER", keys.PAUSED, q)}
        lists = self._open(paused)
        return bool(lists and self._ask(connection, "EXISTS", *lists))

    def _open(self, paused: Collection[str]) -> list[str]:
        return [key for key in self._lists if queue_of(key) not in paused and key not in self.misplaced]

    @property
    def _watched(self) -> list[str]:
        """The keys to be told of: also those that are of another type, since a repair changes them."""
        return [*self._lists, keys.PAUSED]

    def _connect(self) -> Any:
        """Open a connection that speaks RESP3, the protocol in which Redis can push."""
        pool = self._redis.connection_pool
        connection: Any = pool.connection_class(**{**pool.connection_kwargs, "protocol": 3})
        connection.connect()
        self._tracking = connection
        self._ask(connection, "CLIENT", "TRACKING", "ON", "NOLOOP")
        return connection

    def _ask(self, connection: Any, *words: str) -> Any:
        """Send a command and give its reply. Pushes that arrive before it are old news: the reply is newer."""
        connection.send_command(*words, check_health=False)  # the question is a check of its own
        while True:
            reply = connection.read_response(push_request=True)
            if isinstance(reply, Exception):
                raise reply
            if not isinstance(reply, (list, type(None))):
                return reply

    @staticmethod
    def _listen(connection: Any, seconds: float) -> None:
        """Wait for a push. What it names does not matter: the next claim looks at everything."""
        if connection.can_read(timeout=seconds):
            connection.read_response(push_request=True)

    def _poll(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            can_pause = keys.PAUSED not in self.misplaced
            found = cast("set[bytes]", self._redis.smembers(keys.PAUSED)) if can_pause else ()
            paused = {name.decode() for name in found}
            lists = self._open(paused)
            if lists and self._redis.exists(*lists):
                return
            time.sleep(_POLL_S)
