"""The doorbell: an idle worker learns from it that there is work, without polling.

One idle worker of those that serve the same queues is the watcher: Redis pushes an invalidation over its tracking
connection when a key of a queue changes. The other idle workers wait at the bell, a list whose items carry no data.
A ring may get lost, so each worker also looks at its queues every few seconds.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from mlq.protocol import keys
from mlq.protocol.keys import queue_of

if TYPE_CHECKING:
    from redis import Redis

LOOK_EVERY_S: Final = 3.0
"""Seconds by which a lost ring delays a message; each idle worker sends two requests to the server in this time."""

_OF_TIMEOUT: Final = 0.75
"""Part of the socket timeout after which a wait ends: a server that is silent for the whole of it counts as away."""

_LOOKS_AT_THE_BELL: Final = 3
"""Waits at the bell before the worker asks for work, and so to be the watcher: the present one may be frozen."""

_POLL_S: Final = 0.02
"""Seconds between two looks of a watcher whose server refuses tracking (a proxy, an ACL)."""

log = logging.getLogger("mlq.doorbell")


class Doorbell:
    """Waits for work on connections of its own.

    `watched` is `Claims.watched`, `bell` is `Claims.bell`. `misplaced` are keys of a wrong type; they hold no work.
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
        """Return when there may be work, after `seconds`, or when it is time to claim again.

        Args:
            watch: Whether this worker is the watcher of its queues.
            seconds: The longest wait.

        Raises:
            redis.RedisError: The server is away.
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
        """Wait at the bell. A look at the lists now and then costs the server a tenth of a claim."""
        for _ in range(_LOOKS_AT_THE_BELL):
            wait_s = min(seconds, self._longest_s)
            lists = self._open(())
            if self._redis.brpop([self._bell], timeout=wait_s) or (lists and self._redis.exists(*lists)):
                return
            seconds -= wait_s
            if seconds <= 0:
                return

    def _watch(self, seconds: float) -> None:
        """Ask whether there is work, which makes Redis track the keys, and then wait for a change.

        The request is sent after tracking is on and before the wait, so each message is either in the reply or rings.
        """
        from redis.exceptions import ResponseError

        try:
            connection = self._tracking or self._connect()
            # Messages of a paused queue are not work: a worker that looked again at once would never stop. The lists
            # are read last, because a push that is read before a reply counts as older than the reply.
            if not self._ask(connection, "EXISTS", *self._watched) or not self._has_work(connection):
                self._listen(connection, seconds)
        except ResponseError as exc:
            log.warning(
                "no watching by tracking, asking every %g s instead: %s",
                _POLL_S,
                exc,
                extra={"action": "tracking_refused"},
            )
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
        """The keys to track, including those of a wrong type, because a repair changes them."""
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
        """Send a command and return its reply. Skip pushes that arrive before it: the reply is newer."""
        connection.send_command(*words, check_health=False)  # the command itself checks the connection
        while True:
            reply = connection.read_response(push_request=True)
            if isinstance(reply, Exception):
                raise reply
            if not isinstance(reply, (list, type(None))):
                return reply

    @staticmethod
    def _listen(connection: Any, seconds: float) -> None:
        """Wait for a push. The key that it names does not matter: the next claim looks at all queues."""
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
