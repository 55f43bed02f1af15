"""The patient client: the Redis client of Celery's result backends in a worker, which waits out transient failures.

An exception of the result store reaches Celery's tracer after the body of the task has run. Celery then stores a
failure, or the message is handed out again, and the body runs twice. So this client waits instead while the server is
away or starting, or while its memory is full.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from redis import Redis, ResponseError
from redis.client import Pipeline, PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError

from mlq.broker import script
from mlq.broker.script import MemoryAllowance

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0
_GIVE_UP_S: Final = 600.0
"""Seconds after which a command fails after all."""

_PASSING: Final = ("BUSY", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "READONLY", "TRYAGAIN")
"""Errors that begin so are transient: a slow script, a replica, a full disk."""

_ONCE: Final = frozenset({"INCR", "INCRBY", "DECR", "DECRBY", "RPUSH", "LPUSH", "HINCRBY", "APPEND"})
"""Commands that are not repeated if the reply got lost, because they would count twice."""

log = logging.getLogger("mlq.results")

T = TypeVar("T")


class PatientRedis(Redis):
    """A client that repeats commands with a growing pause while the server is away, for up to ten minutes.

    While memory is full, it writes beyond the limit, up to the same bound as the recorder.
    """

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, and repeat it after a transient failure."""
        send: Callable[..., Any] = super().execute_command

        def force() -> Any:
            (reply,) = self._forced([(args, options)])
            return reply

        return self._insist(lambda: send(*args, **options), force, [args])

    def pipeline(self, transaction: Any = True, shard_hint: Any = None) -> Pipeline:  # noqa: FBT002 (redis-py's signature)
        """Create a pipeline whose transactions are repeated like single commands."""
        return _PatientPipeline(self, transaction, shard_hint)

    def pubsub(self, **options: Any) -> PubSub:
        """Create subscriptions that can be canceled while the server is away."""
        return _Subscriptions(self.connection_pool, **options)

    def _insist(self, send: Callable[[], T], force: Callable[[], T], commands: Sequence[script.Command]) -> T:
        pause, give_up_at = _FIRST_PAUSE_S, time.monotonic() + _GIVE_UP_S
        is_first = True
        while True:
            try:
                return send()
            except OutOfMemoryError as exc:
                failure: Exception = exc
                if self._has_room():
                    return force()
            except (RedisConnectionError, RedisTimeoutError) as exc:
                if any(str(command[0]).upper() in _ONCE for command in commands):
                    raise
                failure = exc
            except ResponseError as exc:
                if not str(exc).startswith(_PASSING):
                    raise
                failure = exc
            if time.monotonic() > give_up_at:
                raise failure
            if is_first:
                log.warning(
                    "a result cannot be stored, trying again until it can: %s",
                    failure,
                    extra={"action": "result_store_failed"},
                )
            is_first = False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _has_room(self) -> bool:
        """Return whether more may be written beyond the limit; False while Redis is away, because it is unknown."""
        overshoot: MemoryAllowance | None = vars(self).get("_overshoot")
        if overshoot is None:
            overshoot = self._overshoot = MemoryAllowance(Redis(connection_pool=self.connection_pool))
        try:
            overshoot.look()
        except (RedisConnectionError, RedisTimeoutError):
            return False
        return not overshoot.is_spent

    def _forced(self, stack: Sequence[tuple[script.Command, dict[str, Any]]]) -> list[Any]:
        """Run commands as a script, and return their replies as redis-py does."""
        replies = script.run_commands(self, *(args for args, _ in stack))
        callbacks: Any = self.response_callbacks
        return [
            callbacks[args[0]](reply, **options) if args[0] in callbacks else reply
            for reply, (args, options) in zip(replies, stack, strict=True)
        ]


class _PatientPipeline(Pipeline):
    """A pipeline of a PatientRedis. Only a transaction can be repeated, because it runs as a whole or not at all."""

    def __init__(self, owner: PatientRedis, transaction: Any, shard_hint: Any) -> None:
        super().__init__(owner.connection_pool, owner.response_callbacks, transaction, shard_hint)
        self._owner = owner
        self._is_transaction = bool(transaction)

    def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 (redis-py's signature)
        """Send the queued commands; repeat a transaction after a transient failure."""
        stack = list(self.command_stack)
        if not self._is_transaction or not stack:
            return super().execute(raise_on_error)
        send: Callable[..., list[Any]] = super().execute

        def again() -> list[Any]:
            self.command_stack = list(stack)  # each attempt empties it
            return send(raise_on_error)

        return self._owner._insist(again, lambda: self._owner._forced(stack), [args for args, _ in stack])  # noqa: SLF001


class _Subscriptions(PubSub):
    """The subscriptions of a PatientRedis.

    Celery cancels the subscription to a result when the result object is garbage-collected, in any thread, and connects
    again for that: the thread would wait while the server is away. But subscriptions end with their connection anyway.
    """

    def unsubscribe(self, *channels: Any) -> None:
        """Cancel subscriptions without waiting for the server."""
        stock: Any = super()
        try:
            stock.unsubscribe(*channels)
        except (RedisConnectionError, RedisTimeoutError):
            encoder: Any = self.encoder
            for channel in channels:
                self.channels.pop(encoder.encode(channel), None)  # otherwise the next connection subscribes again
