"""Patient client: Redis as Celery's result backends use it inside a worker, where nothing may fail for the weather.

An exception from the result store reaches Celery's tracer after the task's body has run. Celery then stores a failure,
or the message is handed out again and its body runs once more. So what can pass is waited for here instead: a server
that is away or starting, or whose memory is full.
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
from mlq.store.memory import MemoryAllowance

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0
_GIVE_UP_S: Final = 600.0

_PASSING: Final = ("BUSY", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "READONLY", "TRYAGAIN")
"""Begin what a server replies that will take the command later: a slow script, a replica, a full disk."""

_ONCE: Final = frozenset({"INCR", "INCRBY", "DECR", "DECRBY", "RPUSH", "LPUSH", "HINCRBY", "APPEND"})
"""Not repeated when the reply is missing: a second time would count twice."""

log = logging.getLogger("mlq.answering")

T = TypeVar("T")


class PatientRedis(Redis):
    """A client whose commands wait for the server with a growing pause, for ten minutes at the longest.

    With full memory they are written beyond the limit, as answers are, up to the bound that answers have, too.
    """

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command; see the class."""
        send: Callable[..., Any] = super().execute_command

        def force() -> Any:
            (reply,) = self._forced([(args, options)])
            return reply

        return self._insist(lambda: send(*args, **options), force, [args])

    def pipeline(self, transaction: Any = True, shard_hint: Any = None) -> Pipeline:  # noqa: FBT002 (redis-py's signature)
        """Make a pipeline whose transactions wait as single commands do."""
        return _PatientPipeline(self, transaction, shard_hint)

    def pubsub(self, **options: Any) -> PubSub:
        """Make subscriptions that can be canceled while the server is away."""
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
                log.warning("a result cannot be stored, trying again until it can: %s", failure)
            is_first = False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _has_room(self) -> bool:
        """Tell whether more may be written beyond the limit; while Redis is away it cannot be known."""
        overshoot: MemoryAllowance | None = vars(self).get("_overshoot")
        if overshoot is None:
            overshoot = self._overshoot = MemoryAllowance(Redis(connection_pool=self.connection_pool))
        try:
            overshoot.look()
        except (RedisConnectionError, RedisTimeoutError):
            return False
        return not overshoot.is_spent

    def _forced(self, stack: Sequence[tuple[script.Command, dict[str, Any]]]) -> list[Any]:
        """Run commands as a script, and give their replies as redis-py would."""
        replies = script.run_commands(self, *(args for args, _ in stack))
        callbacks: Any = self.response_callbacks
        return [
            callbacks[args[0]](reply, **options) if args[0] in callbacks else reply
            for reply, (args, options) in zip(replies, stack, strict=True)
        ]


class _PatientPipeline(Pipeline):
    """A pipeline of a PatientRedis. Only a transaction can be tried again: it was done as a whole or not at all."""

    def __init__(self, owner: PatientRedis, transaction: Any, shard_hint: Any) -> None:
        super().__init__(owner.connection_pool, owner.response_callbacks, transaction, shard_hint)
        self._owner = owner
        self._is_transaction = bool(transaction)

    def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 (redis-py's signature)
        """Send what was queued; see PatientRedis."""
        stack = list(self.command_stack)
        if not self._is_transaction or not stack:
            return super().execute(raise_on_error)
        send: Callable[..., list[Any]] = super().execute

        def again() -> list[Any]:
            self.command_stack = list(stack)  # it is emptied by every try
            return send(raise_on_error)

        return self._owner._insist(again, lambda: self._owner._forced(stack), [args for args, _ in stack])  # noqa: SLF001


class _Subscriptions(PubSub):
    """What a PatientRedis is subscribed to.

    Celery cancels the subscription of a result that is collected, in whichever thread that happens, and reconnects for
    it: that thread would wait for as long as the server is away. But the end of a connection ends its subscriptions.
    """

    def unsubscribe(self, *channels: Any) -> None:
        """Cancel subscriptions, and wait for nothing."""
        stock: Any = super()
        try:
            stock.unsubscribe(*channels)
        except (RedisConnectionError, RedisTimeoutError):
            encoder: Any = self.encoder
            for channel in channels:
                self.channels.pop(encoder.encode(channel), None)  # else the next connection subscribes again
