"""Server time in Celery: what its tasks compute from the time of day is computed from the server's.

A retry's countdown and a message's expiry become dates, which other hosts compare with their clocks. Celery takes and
compares them by the clock of the host that it runs on.
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
        """Give the date, as Celery.now does."""
        return datetime.fromtimestamp(clock.now(), timezone.utc).astimezone(app.timezone)

    def maybe_expire(self: Any) -> bool | None:
        """Revoke a request that has expired, as Request.maybe_expire does."""
        if self.expires and clock.now() > self.expires.timestamp():
            revoked.add(self.id)
            return True
        return None

    def stamp(headers: dict[str, Any] | None = None, **_: Any) -> None:
        if headers is not None:
            headers.setdefault(names.SENT_AT_HEADER, clock.now())

    # In place of the one in app.py, which has no server to ask.
    signals.before_task_publish.disconnect(dispatch_uid=names.STAMP)
    signals.before_task_publish.connect(stamp, weak=False, dispatch_uid=names.STAMP)
    stock: Any = app
    stock.now = now
    request_class: Any = request.Request
    request_class.maybe_expire = maybe_expire
