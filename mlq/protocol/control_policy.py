"""Which of Celery's control commands workers obey: the setting `controls`.

Celery asks no client who it is: one that may publish to the control mailbox operates every worker that listens. So by
default workers answer questions, and do what concerns tasks; what ends or resizes a worker is its operator's, who has
`mlq worker`.
"""

from __future__ import annotations

from typing import Final

from mlq.protocol.names import Controls

_ASKING: Final = frozenset(
    {
        *("active", "dump_active", "active_queues", "clock", "conf", "dump_conf", "hello", "ping", "query_task"),
        *("registered", "dump_tasks", "reserved", "dump_reserved", "revoked", "dump_revoked"),
        *("scheduled", "dump_schedule", "stats"),
    }
)
"""They change nothing but a reply."""

_OF_TASKS: Final = frozenset({"revoke", "terminate", "revoke_by_stamped_headers", "rate_limit"})
"""Their clients' business; an operator sees what is revoked and what is limited."""

_OF_MONITORS: Final = frozenset({"enable_events", "disable_events", "heartbeat"})
"""Flower and mlq's own commands send them; what they change is what is told."""

_OF_OPERATORS: Final = frozenset(
    {
        *("shutdown", "pool_grow", "pool_shrink", "pool_restart", "autoscale", "add_consumer", "cancel_consumer"),
        *("time_limit", "election", "report", "objgraph", "memsample", "memdump"),
    }
)
"""They end, resize or re-aim a worker, give limits to all tasks of a name, or write files and tell of the host."""

_FOR_ALL: Final = _ASKING | _OF_TASKS | _OF_MONITORS

OF_CELERY: Final = _FOR_ALL | _OF_OPERATORS
"""Every command of Celery 5.6 and 5.7, by each of its names."""


def obeys(controls: Controls, method: str, *, only_asks: bool = False) -> bool:
    """Tell whether workers with this setting obey a command.

    A command that the user's own modules have added, and declared as one that `only_asks`, counts as one of Celery's.
    """
    if controls == "all":
        return True
    if controls == "none":
        return False
    return method in _FOR_ALL or (only_asks and method not in OF_CELERY)


def refusal(controls: Controls) -> dict[str, str]:
    """Answer a command that is not obeyed."""
    return {
        "error": f"this worker does not obey this command (controls = {controls!r}); its operator has `mlq worker` and "
        "`mlq queues`, or may set controls = 'all'"
    }
