"""Reserved names: keys of Redis that hold no queue. No message may make a worker write there.

A message names queues in many places: the options of a link, an errback, a chain or a chord's body, the address of a
retry, the address for the reply to a control message. A worker may write to every key; who sends a message may not.
"""

from __future__ import annotations

from typing import Final

PREFIXES: Final = ("mlq:", "unacked", "_kombu", "celery-task-meta-", "celery-taskset-meta-")
"""What the names of mlq's, kombu's and Celery's keys begin with; scripts/parts/queue.lua has the same list."""

_CONTROL: Final = ("celery.pidbox", "reply.celery.pidbox", "celeryev")
"""Exchanges of control messages, of their replies, and of events."""

_MAILBOX: Final = ".pidbox"
_OF_THE_SERVER: Final = "amq."


def is_reserved(name: str) -> bool:
    """Tell the name of a key that holds no queue."""
    return name.startswith(PREFIXES)


def why_not_a_queue(name: str) -> str | None:
    """Say why no task may be sent to a queue of this name, or with this routing key; None if it may."""
    if is_reserved(name):
        prefix = next(p for p in PREFIXES if name.startswith(p))
        return f"names that begin with {prefix!r} are reserved for keys that hold no queue"
    if name.endswith(_MAILBOX):
        return f"names that end with {_MAILBOX!r} are mailboxes for control messages"
    if name.startswith(_OF_THE_SERVER):
        return f"queues whose names begin with {_OF_THE_SERVER!r} are the broker's own"
    return None


def why_not_an_exchange(name: str) -> str | None:
    """Say why no task may be sent to an exchange of this name; None if it may."""
    if name in _CONTROL or name.endswith(_MAILBOX):
        return "that exchange is for control messages and events"
    return why_not_a_queue(name) if is_reserved(name) else None
