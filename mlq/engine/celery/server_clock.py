"""The server's clock in Celery: dates in messages are computed and compared with the time of the server.

The countdown of a retry and the expiry of a message become dates, which other hosts compare with their clocks. Stock
Celery uses the clock of its host for both.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.worker import request
from celery.worker.state import revoked

from mlq.protocol import names

if TYPE_CHECKING:
    from celery import Celery

    from mlq.broker.server_time import ServerClock


def install(app: Celery, clock: ServerClock) -> None:
    """Let this app, and Celery's requests in this process, use the server's clock."""

    def now() -> datetime:
        """Return the time, as Celery.now does."""
        return datetime.fromtimestamp(clock.now(), timezone.utc).astimezone(app.timezone)

    def maybe_expire(self: Any) -> bool | None:
        """Revoke an expired request, as Request.maybe_expire does."""
        if self.expires and clock.now() > self.expires.timestamp():
            revoked.add(self.id)
            return True
        return None

    def stamp(headers: dict[str, Any] | None = None, **_: Any) -> None:
        if headers is not None:
            headers.setdefault(names.SENT_AT_HEADER, clock.now())

    # This replaces the receiver of app.py, which uses the clock of the host.
    signals.before_task_publish.disconnect(dispatch_uid=names.STAMP)
    signals.before_task_publish.connect(stamp, weak=False, dispatch_uid=names.STAMP)
    stock: Any = app
    stock.now = now
    request_class: Any = request.Request
    request_class.maybe_expire = maybe_expire
