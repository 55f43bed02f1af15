"""Script: one of mlq's Lua scripts, which Redis runs as one step; and what may be written to a full server.

All scripts follow three rules. The behavior of the server behind them was measured on Redis 7.0.15 and Valkey 9.1:

- *Full memory.* A server at its `maxmemory` refuses every command that could use more memory, in a script too, until
  the script has made its first write; after that the server lets the script finish. So each script that a worker needs
  to empty its queue begins with a write that changes nothing (HDEL or ZREM of the empty name, which also adds nothing
  to the append-only file). `#!lua flags=allow-oom` would be clearer, but servers before version 7 do not know it.
- *No rollback.* A script that fails keeps what it has written. So a message is written to its new place before it is
  removed from its old one: after a failure between the two, the message runs twice instead of being lost.
- *Nothing is decoded.* cjson raises on hostile input; scripts move messages as bytes.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

if TYPE_CHECKING:
    from redis import Redis


Word: TypeAlias = str | bytes | int
"""An argument of a script."""

Call: TypeAlias = tuple[Sequence[str], Sequence[Word]]
"""The keys and the arguments of one call."""

Command: TypeAlias = Sequence[Any]
"""A command's name and its arguments, as redis-py takes them."""

_SCRIPTS: Final = files("mlq.store") / "scripts"
_WITH: Final = re.compile(r"^-- with: (.+)$", re.MULTILINE)

_ALLOWANCE_SHARE: Final = 0.1
MIN_ALLOWANCE_BYTES: Final = 16 * 1024 * 1024
"""The allowance is how much results may add to a server that is full: a tenth of the server's `maxmemory`, or
MIN_ALLOWANCE_BYTES if that is more, counted from the usage when the server was first seen full (docs/brokers.md)."""

_CHECK_EVERY_S: Final = 1.0

log = logging.getLogger("mlq.memory")


class Script:
    """One of `scripts/*.lua`; its `-- with:` line is replaced by the parts that it names."""

    def __init__(self, name: str) -> None:
        self._source = _source(name)
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, redis: Redis, keys: Sequence[str], words: Sequence[Word]) -> Any:
        """Run the script, and return its reply. Raises redis.RedisError."""
        return self.batch(redis, [(keys, words)])[0]

    def batch(self, redis: Redis, calls: Iterable[Call]) -> list[Any]:
        """Run the script for each of `calls` in one round trip; a call that fails does not stop the others.

        The first failure is raised after all calls were tried. If the connection breaks, that is raised at once.
        """
        from redis.exceptions import NoScriptError

        calls = list(calls)
        replies = self._replies(redis, calls)
        for i, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):  # for example after a restart of the server
                replies[i] = self._run_source(redis, calls[i])
        failure = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if failure is not None:
            raise failure
        return replies

    def _run_source(self, redis: Redis, call: Call) -> Any:
        """Run the script from its source, which the server then caches; return the reply, or the error of the call."""
        from redis.exceptions import ResponseError

        keys, words = call
        try:
            return redis.eval(self._source, len(keys), *keys, *words)
        except ResponseError as exc:
            return exc

    def _replies(self, redis: Redis, calls: Sequence[Call]) -> list[Any]:
        """Send all calls, then read all replies, on a connection of the client's pool, with the pool's retries.

        This bypasses redis-py's `evalsha` and `pipeline`, which need 30 µs per call, as much as the server itself.
        """
        from redis.exceptions import ResponseError

        packed = b"".join([_packed("EVALSHA", self._sha, len(keys), *keys, *words) for keys, words in calls])
        pool = redis.connection_pool
        connection: Any = pool.get_connection()

        def read() -> Any:
            try:
                return connection.read_response()
            except ResponseError as exc:
                return exc

        def ask() -> list[Any]:
            connection.send_packed_command([packed])
            return [read() for _ in calls]

        try:
            replies: list[Any] = connection.retry.call_with_retry(ask, lambda _: connection.disconnect())
        except BaseException:  # for example a time limit: the next caller must not read a reply to this call
            connection.disconnect()
            raise
        finally:
            pool.release(connection)
        return replies


def is_full(exc: Exception) -> bool:
    """Return True if a server refused a command because its memory is full.

    The server's text is not always at the beginning of the message: redis-py puts the command before it in a pipeline,
    and Redis 6 puts the script's name before it. In these cases redis-py does not raise OutOfMemoryError, so this
    function searches the whole message.
    """
    return "OOM " in str(exc) or "used memory > 'maxmemory'" in str(exc)


def _packed(*words: Word) -> bytes:
    """Encode a command in Redis's protocol (RESP)."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        text = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(text), text))
    return b"".join(parts)


@cache
def _source(name: str) -> str:
    text = (_SCRIPTS / f"{name}.lua").read_text(encoding="utf-8")
    return _WITH.sub(lambda line: "\n".join(map(_part, line[1].split())), text)


@cache
def _part(name: str) -> str:
    return (_SCRIPTS / "parts" / f"{name}.lua").read_text(encoding="utf-8")


_forced: Final = Script("server/forced")


def run_commands(redis: Redis, *commands: Command) -> list[Any]:
    """Run commands even while the server's memory is full, and return their replies without conversion.

    Use it only for commands that must not wait for room: those that make room, orders of an operator, and the end of a
    task. The caller limits how much is written beyond the server's limit (`MemoryAllowance`).
    """
    encode = cast("Any", redis).get_encoder().encode
    words: list[Word] = []
    for command in commands:
        # redis-py passes a command of two words, such as CLIENT KILL, as one text.
        parts = [*str(command[0]).split(" "), *command[1:]]
        words += [len(parts), *(part if isinstance(part, bytes) else encode(part) for part in parts)]
    replies: list[Any] = _forced(redis, [str(commands[0][1])], words)
    return replies


def memory_use(redis: Redis) -> tuple[int, int] | None:
    """Return the bytes that a server uses and its limit (0: none); None if the user may not call INFO."""
    from redis.exceptions import ResponseError

    try:
        memory: Any = redis.info("memory")
    except ResponseError:
        return None
    return int(memory["used_memory"]), int(memory.get("maxmemory") or 0)


class MemoryAllowance:
    """Says whether workers may still write results to a server whose memory is full; `is_spent` is True if not.

    Workers must write to a full server, because only completed messages make room. But results may be larger than their
    messages, and a server that keeps growing is killed. So results may use only a limited amount of memory beyond the
    server's limit, the allowance. When it is used up, workers hold their results back until the server has room.
    """

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._look_at = 0.0
        self._full_at: int | None = None
        self.is_spent = False

    def look(self) -> None:
        """Check the server's memory if the last check is more than a second ago. Raises redis.RedisError."""
        if self._clock() < self._look_at:
            return
        self._look_at = self._clock() + _CHECK_EVERY_S
        memory = memory_use(self._redis)
        if memory is not None:
            self._update(*memory)

    def _update(self, used: int, limit: int) -> None:
        """Update `is_spent` from the bytes that the server uses, and its limit.

        The allowance starts at the usage when the server was first seen full, not at the limit: if an operator lowers
        the limit below the usage, results still get the whole allowance.
        """
        if not limit or used <= limit:
            self._full_at = None
        elif self._full_at is None:
            self._full_at = used
        was_spent = self.is_spent
        allowance = max(_ALLOWANCE_SHARE * limit, MIN_ALLOWANCE_BYTES)
        self.is_spent = self._full_at is not None and used > self._full_at + allowance
        if self.is_spent and not was_spent:
            log.warning(
                "the broker's memory is over its limit (maxmemory), and the extra memory for results is used up: "
                "workers hold results back until memory is free",
                extra={"action": "memory_exhausted"},
            )
        if was_spent and not self.is_spent:
            log.info("the broker has room for results again", extra={"action": "memory_available"})
