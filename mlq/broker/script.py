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
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from redis import Redis

Word: TypeAlias = str | bytes | int
"""What a script can be given."""

Call: TypeAlias = tuple[Sequence[str], Sequence[Word]]
"""The keys and the arguments of one call."""

_SCRIPTS: Final = files("mlq.broker") / "scripts"
_WITH: Final = re.compile(r"^-- with: (.+)$", re.MULTILINE)


class Script:
    """One of `scripts/*.lua`, with the parts that its `-- with:` line names put in front of its code."""

    def __init__(self, name: str) -> None:
        self._source = _source(name)
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, redis: Redis, keys: Sequence[str], words: Sequence[Word]) -> Any:
        """Run it, and give what it replied."""
        from redis.exceptions import NoScriptError

        try:
            return redis.evalsha(self._sha, len(keys), *keys, *words)
        except NoScriptError:  # a server that has restarted: EVAL runs the script and remembers it again
            return redis.eval(self._source, len(keys), *keys, *words)

    def batch(self, redis: Redis, calls: Iterable[Call]) -> list[Any]:
        """Run it for each of `calls`, in one round trip; a call that fails does not stop the others.

        The first failure is raised when all have been tried.
        """
        from redis.exceptions import NoScriptError

        calls = list(calls)
        if len(calls) == 1:  # a pipeline of one costs twice the client's time
            return [self(redis, *calls[0])]
        with redis.pipeline(transaction=False) as pipe:
            for keys, words in calls:
                pipe.evalsha(self._sha, len(keys), *keys, *words)
            replies = pipe.execute(raise_on_error=False)
        for i, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):
                replies[i] = self(redis, *calls[i])
        failure = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if failure is not None:
            raise failure
        return replies


@cache
def _source(name: str) -> str:
    text = (_SCRIPTS / f"{name}.lua").read_text(encoding="utf-8")
    return _WITH.sub(lambda line: "\n".join(map(_part, line[1].split())), text)


@cache
def _part(name: str) -> str:
    return (_SCRIPTS / "parts" / f"{name}.lua").read_text(encoding="utf-8")
