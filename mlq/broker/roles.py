"""Roles: the rights of a client, a submitter and a worker on Redis (7 and newer) or Valkey, as the rules of an ACL.

A rule outside of parentheses grants every command of the user on every key of the user, so only what may be combined
freely stands there. Everything else is a selector: these commands on these keys, and nothing more. What a script does
is checked command by command, too: the right to run one gives no right to what is done in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final


class Role(str, Enum):
    """Whom a user of the server is for."""

    CLIENT = "client"
    SUBMITTER = "submitter"
    WORKER = "worker"


_PRIORITIES: Final = "[^!-~][^!-~][369]"
r"""What kombu writes behind a queue's name for a priority: \x06\x16 and a step. The pattern is printable, so that it
survives a terminal and an editor: each class stands for one byte that is neither a letter, a digit nor punctuation."""

_UUID: Final = "-".join("?" * length for length in (8, 4, 4, 4, 12))
"""Group ids, as Celery makes them. Without a fixed length the pattern would take in `.j`, where workers keep a chord's
parts: a text in its place would stop every part that follows."""

_CHORDS: Final = "resetchannels &celery-taskset-meta-*"

_CONNECTION: Final = (
    "+@connection",
    "+multi",
    "+exec",
    "-@admin",
    "-@dangerous",
    # Messages of CLIENT TRACKING name changed keys regardless of key rules: with BCAST all keys, and so all task ids.
    "-client|tracking",
    "-client|caching",
)

_RESULTS: Final = (
    "(%R~celery-task-meta-* +get +mget)",
    f"(%W~celery-taskset-meta-{_UUID} %W~celery-taskset-meta-{_UUID}.s {_CHORDS} +publish +set +setex)",
    f"(%R~celery-taskset-meta-{_UUID} +get)",
    # Celery 5.7 removes the mark of an earlier run of the same chord before it sends one.
    f"(%W~celery-taskset-meta-{_UUID}.c +del)",
)

_RECORDS: Final = (
    "(%RW~mlq:job:* +exists +expire +hdel +hget +hgetall +hincrby +hlen +hmget +hset +hsetnx +ttl +xdel +xread)",
    "(%W~mlq:job:*:sender:* +del +set)",
    # forced.lua begins with a DEL of such a name, which no key has.
    "(%W~mlq:job:*:none %W~mlq:cancelled:none %W~mlq:events:none +del)",
    "(%RW~mlq:jobs +zadd +zremrangebyscore +zrevrange)",
    "(%RW~mlq:cancelled +zadd +zremrangebyscore +zscore)",
    "(%RW~mlq:queues +zadd +zrange +zrem +zremrangebyrank +zremrangebyscore)",
    "(%R~mlq:schema %R~mlq:heartbeat:* +get +pttl)",
    "(%R~mlq:workers %R~mlq:paused +smembers)",
    "(%R~mlq:leases +zrange +zscore)",
    "(%R~mlq:delayed +hgetall)",
    # The record of `mlq job cancel`; `mlq events`, to read it, is an operator's.
    "(%W~mlq:events +xadd)",
)
"""What `mlq submit`, `result`, `job`, and the reading half of `queues` and `worker` do, command by command."""

_NOTHING: Final = ("resetchannels", "-@all")
"""Said first: the server's `acl-pubsub-default` may give a new user every channel."""

_WORKER: Final = (*_NOTHING, "~*", "&*", "+@all", "-@admin", "-@dangerous", "+info")


def rules(role: Role, queues: Sequence[str], *, selects: bool) -> list[str]:
    """Write the rights of a role; `selects`: its server's database has another number than 0.

    A right to SELECT would open every database of the server, since key patterns hold in each.
    """
    if role is Role.WORKER:
        return list(_WORKER)
    keys = [f"%W~{pattern}" for queue in queues for pattern in _lists(queue)]
    more = ["+exists", "+info", "+time", "+type"] if role is Role.SUBMITTER else []
    select = "+select" if selects else "-select"
    root = [*_NOTHING, *keys, "+llen", "+lpush", *_CONNECTION, select, *more]
    listening = ["&celery-task-meta-*", "+subscribe", "+unsubscribe"]
    selectors = [_bindings(queues), *_RESULTS]
    if role is Role.SUBMITTER:
        selectors += [*_RECORDS, _scripts(queues)]
    return [*root, *listening, *selectors]


def _lists(queue: str) -> list[str]:
    name = _escaped(queue)
    return [name, name + _PRIORITIES]


def _bindings(queues: Sequence[str]) -> str:
    """Let kombu bind each queue to the exchange of its own name, which it does before it sends.

    Not `_kombu.binding*`: an entry of `_kombu.binding.reply.celery.pidbox` names the list to which workers push.
    """
    names = [_escaped(queue) for queue in queues]
    tables = [f"%RW~_kombu.{table}.{name}" for name in names for table in ("binding", "binding_permanent")]
    return f"({' '.join(tables)} +sadd +smembers)"


def _scripts(queues: Sequence[str]) -> str:
    """Let scripts name these keys: the server asks for both rights to each, whatever the script does with it."""
    names = [
        "mlq:job:*",
        "mlq:queues",
        "mlq:cancelled",
        "mlq:events",
        *(pattern for queue in queues for pattern in _lists(queue)),
    ]
    return f"({' '.join(f'%RW~{name}' for name in names)} +eval +evalsha)"


def _escaped(name: str) -> str:
    """Write a queue's name as a pattern that a line can hold.

    Spaces separate rules, redis-cli reads quotes, and selectors end with a parenthesis: the pattern takes any character
    in their place.
    """
    return "".join(_escaped_character(character) for character in name)


def _escaped_character(character: str) -> str:
    if character in "*?[\\":
        return f"\\{character}"
    if character in "\"'()":
        return "?"
    return "[^!-~]" if character.isspace() else character
