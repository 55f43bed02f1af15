"""Reconnecting: a worker whose broker went away is back soon after it. Celery waits 2 s more each time, up to 30 s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mlq.broker.channels import PatientConnection

if TYPE_CHECKING:
    from celery import Celery

    from mlq.broker.credentials import FileCredentials

_PAUSES: Final = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 2.0}
"""A restart of Redis takes a second, a fail-over two or three; a try costs a refused connection."""


class _Soon(PatientConnection):
    """The connection, with shorter pauses between its tries."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Try until it is connected."""
        return super().ensure_connection(*args, **{**_PAUSES, **kwargs})


def install(app: Celery, credentials: FileCredentials | None) -> None:
    """Let the connections of this app reconnect so. The consumer is named, since clients need not load it."""
    amqp: Any = app.amqp
    amqp.Connection = _Soon.reading(credentials)
    app.conf.worker_consumer = "mlq.engine.celery.connection_losses:SteadyConsumer"
