"""Roles: the rights of a client, a submitter and a worker on Redis (7 and newer) or Valkey, as the rules of an ACL.

Rules outside of parentheses grant each of the user's commands on each of the user's keys, so they hold only commands
and keys that may be combined freely. All other rights are selectors: these commands on these keys, and nothing more.
The server also checks every command in a script: the right to run a script does not include its commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final


class Role(str, Enum):
    """The purpose of a user on the server."""

    CLIENT = "client"
    SUBMITTER = "submitter"
    WORKER = "worker"


_PRIORITIES: Final = "[^!-~][^!-~][369]"
r"""The suffix that kombu adds to a queue's name for a priority: \x06\x16 and a step. The pattern is printable, so that
it survives a terminal and an editor: each class matches one byte that is not a letter, a digit or punctuation."""

_UUID: Final = "-".join("?" * length for length in (8, 4, 4, 4, 12))
"""Group ids as Celery makes them. Without a fixed length the pattern would also match the key `.j`, where workers keep
a chord's parts; a client that wrote a string there would make all further parts fail."""

_CHORDS: Final = "resetchannels &celery-taskset-meta-*"

_CONNECTION: Final = (
    "+@connection",
    "+multi",
    "+exec",
    "-@admin",
    "-@dangerous",
    # CLIENT TRACKING with BCAST reports all changed keys regardless of key rules, and so all task ids.
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
"""The commands of `mlq submit`, `result`, `job`, and of those parts of `queues` and `worker` that only read."""

_NOTHING: Final = ("resetchannels", "-@all")
"""These rules come first, because the server's `acl-pubsub-default` may give a new user all channels."""

_WORKER: Final = (*_NOTHING, "~*", "&*", "+@all", "-@admin", "-@dangerous", "+info")


def rules(role: Role, queues: Sequence[str], *, selects: bool) -> list[str]:
    """Return the ACL rules of a role; `selects` is True if the database has another number than 0.

    The right to SELECT opens every database of the server, because key patterns apply to all of them.
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
    """Return the rule that lets kombu bind each queue to the exchange of the same name, as it does before sending.

    The pattern must not be `_kombu.binding*`: an entry of `_kombu.binding.reply.celery.pidbox` names a list to which
    workers push.
    """
    names = [_escaped(queue) for queue in queues]
    tables = [f"%RW~_kombu.{table}.{name}" for name in names for table in ("binding", "binding_permanent")]
    return f"({' '.join(tables)} +sadd +smembers)"


def _scripts(queues: Sequence[str]) -> str:
    """Return the rule for the keys of scripts: the server requires read and write rights for every key of a script."""
    names = [
        "mlq:job:*",
        "mlq:queues",
        "mlq:cancelled",
        "mlq:events",
        *(pattern for queue in queues for pattern in _lists(queue)),
    ]
    return f"({' '.join(f'%RW~{name}' for name in names)} +eval +evalsha)"


def _escaped(name: str) -> str:
    """Return a queue's name as a pattern that fits into one line of rules.

    Spaces separate rules, redis-cli interprets quotes, and a parenthesis ends a selector; in the place of such a
    character the pattern matches any character.
    """
    return "".join(_escaped_character(character) for character in name)


def _escaped_character(character: str) -> str:
    if character in "*?[\\":
        return f"\\{character}"
    if character in "\"'()":
        return "?"
    return "[^!-~]" if character.isspace() else character
