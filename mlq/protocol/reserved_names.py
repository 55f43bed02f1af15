"""Reserved names: Redis keys that are not queues. No message may make a worker publish to such a key.

A message names queues in many places: the options of a link, an errback, a chain or a chord's body, the queue of a
retry, the reply queue of a control message. A worker may write to every key; the sender of a message may not.
"""

from __future__ import annotations

from typing import Final

PREFIXES: Final = ("mlq:", "unacked", "_kombu", "celery-task-meta-", "celery-taskset-meta-")
"""Prefixes of the keys of mlq, kombu and Celery; scripts/parts/queue.lua has the same list."""

_CONTROL: Final = ("celery.pidbox", "reply.celery.pidbox", "celeryev")
"""Exchanges of control messages, of their replies, and of events."""

_MAILBOX: Final = ".pidbox"
_OF_THE_SERVER: Final = "amq."


def is_reserved(name: str) -> bool:
    """Return True if a name is that of a key which is not a queue."""
    return name.startswith(PREFIXES)


def why_not_a_queue(name: str) -> str | None:
    """Return why no task may be sent to a queue of this name, or with this routing key; None if it may."""
    if is_reserved(name):
        prefix = next(p for p in PREFIXES if name.startswith(p))
        return f"names that begin with {prefix!r} are reserved for keys that hold no queue"
    if name.endswith(_MAILBOX):
        return f"names that end with {_MAILBOX!r} are mailboxes for control messages"
    if name.startswith(_OF_THE_SERVER):
        return f"queues whose names begin with {_OF_THE_SERVER!r} are the broker's own"
    return None


def why_not_an_exchange(name: str) -> str | None:
    """Return why no task may be sent to an exchange of this name; None if it may."""
    if name in _CONTROL or name.endswith(_MAILBOX):
        return "that exchange is for control messages and events"
    return why_not_a_queue(name) if is_reserved(name) else None
