"""Script: a Lua script of ours, which Redis runs as one step.

Three rules hold for all of them, measured on Redis 7.0.15 and Valkey 9.1:

- *Full memory.* A server at its `maxmemory` refuses every command that could grow it, in a script too, until
  that script has made its first write; from then on it lets the script finish. So whatever a worker needs to
  empty its queue begins with a write that changes nothing (HDEL or ZREM of the empty name, which also leaves
  the append-only file alone). `#!lua flags=allow-oom` would say it more plainly, but no server before 7 reads it.
- *No rollback.* A script that fails keeps what it has written. So a message is written to where it goes before
  it is removed from where it was: a failure between the two runs it twice, it does not lose it.
- *Nothing is decoded.* cjson raises on hostile input; messages are bytes, moved as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

if TYPE_CHECKING:
    from redis import Redis


Word: TypeAlias = str | bytes | int
"""What a script can be given."""

Call: TypeAlias = tuple[Sequence[str], Sequence[Word]]
"""The keys and the arguments of one call."""

_SCRIPTS: Final = files("mlq.store") / "scripts"
_WITH: Final = re.compile(r"^-- with: (.+)$", re.MULTILINE)


class Script:
    """One of `scripts/*.lua`, with the parts that its `-- with:` line names put in front of its code."""

    def __init__(self, name: str) -> None:
        self._source = _source(name)
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, redis: Redis, keys: Sequence[str], words: Sequence[Word]) -> Any:
        """Run it, and give what it replied. Raises redis.RedisError."""
        return self.batch(redis, [(keys, words)])[0]

    def batch(self, redis: Redis, calls: Iterable[Call]) -> list[Any]:
        """Run it for each of `calls`, in one round trip; a call that fails does not stop the others.

        The first failure is raised when all have been tried.
        """
        from redis.exceptions import NoScriptError

        calls = list(calls)
        replies = self._replies(redis, calls)
        for i, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):  # a server that has restarted: EVAL runs the script and keeps it
                keys, words = calls[i]
                replies[i] = redis.eval(self._source, len(keys), *keys, *words)
        failure = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if failure is not None:
            raise failure
        return replies

    def _replies(self, redis: Redis, calls: Sequence[Call]) -> list[Any]:
        """Send all calls, then read all replies, on a connection of the client's pool, with the pool's retries.

        Past `evalsha` and `pipeline`, which spend 30 µs a call on their way: as much as the server does.
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
        except BaseException:  # a time limit, say: the next caller must not read the reply that is on its way
            connection.disconnect()
            raise
        finally:
            pool.release(connection)
        return replies


def is_full(exc: Exception) -> bool:
    """Tell the refusal of a server whose memory is full from others.

    A pipeline puts the command before the server's words, and Redis 6 the script; redis-py knows neither form.
    """
    return "OOM " in str(exc) or "used memory > 'maxmemory'" in str(exc)


def _packed(*words: Word) -> bytes:
    """Write a command as Redis reads it (RESP)."""
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


Command: TypeAlias = Sequence[Any]
"""A command's name and its arguments, as redis-py takes them."""

_forced: Final = Script("server/forced")


def run_commands(redis: Redis, *commands: Command) -> list[Any]:
    """Run commands, and give their replies as Redis writes them.

    For what must not wait for room: what makes room, what an operator wants done, and what ends a task. How much may be
    written beyond the limit is the caller's affair (store/memory.py).
    """
    encode = cast("Any", redis).get_encoder().encode
    words: list[Word] = []
    for command in commands:
        # A command of two words, such as CLIENT KILL, is one text in redis-py.
        parts = [*str(command[0]).split(" "), *command[1:]]
        words += [len(parts), *(part if isinstance(part, bytes) else encode(part) for part in parts)]
    replies: list[Any] = _forced(redis, [str(commands[0][1])], words)
    return replies
