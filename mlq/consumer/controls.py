"""Controls: what Celery's control messages ask and the engine does not do. It says so, where Celery would say yes."""

from __future__ import annotations

from typing import Any, Final

from celery.worker.control import Panel

_REFUSED: Final = ("add_consumer", "cancel_consumer")
"""A claim, a watch and a lease name the queues that a worker was started with: others would be served by nobody."""


def refuse() -> None:
    """Refuse in this process, from now on, to change the queues of a running worker."""
    Panel.data.update(dict.fromkeys(_REFUSED, _no))


def _no(_: Any, **__: Any) -> dict[str, str]:
    return {"error": "a worker keeps its queues; `mlq queues pause` stops one, `mlq worker start --queues` adds one"}
