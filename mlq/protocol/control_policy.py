"""Control policy: which of Celery's control commands workers obey (the setting `controls`).

Celery does not authenticate control commands: any client that may publish to the control mailbox could operate every
worker. So by default workers obey commands that only ask and commands about tasks. Operators stop or resize workers
with `mlq worker`.
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
"""Commands that change nothing and only reply."""

_OF_TASKS: Final = frozenset({"revoke", "terminate", "revoke_by_stamped_headers", "rate_limit"})
"""Commands about tasks, which their clients may give; an operator can see which tasks are revoked or limited."""

_OF_MONITORS: Final = frozenset({"enable_events", "disable_events", "heartbeat"})
"""Commands that Flower and mlq's own commands send; they only change which events are sent."""

_OF_OPERATORS: Final = frozenset(
    {
        *("shutdown", "pool_grow", "pool_shrink", "pool_restart", "autoscale", "add_consumer", "cancel_consumer"),
        *("time_limit", "election", "report", "objgraph", "memsample", "memdump"),
    }
)
"""Commands that stop or resize a worker, change its queues or its time limits, write files, or describe the host."""

_FOR_ALL: Final = _ASKING | _OF_TASKS | _OF_MONITORS

OF_CELERY: Final = _FOR_ALL | _OF_OPERATORS
"""Every command of Celery 5.6 and 5.7, by each of its names."""


def obeys(controls: Controls, method: str, *, only_asks: bool = False) -> bool:
    """Return True if workers with this setting obey a command.

    A command that one of the user's modules adds is obeyed by default only if it is declared as one that `only_asks`.
    """
    if controls == "all":
        return True
    if controls == "none":
        return False
    return method in _FOR_ALL or (only_asks and method not in OF_CELERY)


def refusal(controls: Controls) -> dict[str, str]:
    """Return the reply to a command that is not obeyed."""
    return {
        "error": f"this worker does not obey this command (controls = {controls!r}); its operator has `mlq worker` and "
        "`mlq queues`, or may set controls = 'all'"
    }
