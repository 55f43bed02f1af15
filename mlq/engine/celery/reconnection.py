"""Reconnection: a worker reconnects soon after its broker is back. Celery's pauses grow by 2 s each, up to 30 s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mlq.broker.channels import PatientConnection

if TYPE_CHECKING:
    from celery import Celery

    from mlq.broker.credentials import FileCredentials

_PAUSES: Final = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 2.0}
"""Seconds between attempts. A restart of Redis takes one second, a failover two or three."""


class _EagerConnection(PatientConnection):
    """A connection with shorter pauses between its attempts."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Connect, with as many attempts as it takes."""
        return super().ensure_connection(*args, **{**_PAUSES, **kwargs})


def install(app: Celery, credentials: FileCredentials | None) -> None:
    """Let the connections of this app reconnect soon. The consumer is set by name, so that clients do not load it."""
    amqp: Any = app.amqp
    amqp.Connection = _EagerConnection.reading(credentials)
    app.conf.worker_consumer = "mlq.engine.celery.connection_losses:SteadyConsumer"
