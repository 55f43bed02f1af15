"""Forced: plain commands in one step that a server runs although its memory is full, as it runs our scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from mlq.broker.script import Script

if TYPE_CHECKING:
    from redis import Redis

    from mlq.broker.script import Word

Command: TypeAlias = Sequence[Any]
"""A command's name and its arguments, as redis-py takes them."""

_forced: Final = Script("server/forced")


def run(redis: Redis, *commands: Command) -> list[Any]:
    """Run commands, and give their replies as Redis writes them.

    For what must not wait for room: what makes room, what an operator wants done, and what ends a task. How much may be
    written beyond the limit is the caller's affair (overshoot.py).
    """
    encode = cast("Any", redis).get_encoder().encode
    words: list[Word] = []
    for command in commands:
        # A command of two words, such as CLIENT KILL, is one text in redis-py.
        parts = [*str(command[0]).split(" "), *command[1:]]
        words += [len(parts), *(part if isinstance(part, bytes) else encode(part) for part in parts)]
    replies: list[Any] = _forced(redis, [str(commands[0][1])], words)
    return replies
