"""Supervisor notices: a page that a supervisor writes and all its workers read, without a request to Redis."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from typing import Final

import orjson

from mlq.ipc.shared_page import Page
from mlq.protocol.names import is_task_id

VARIABLE: Final = "MLQ_NOTICES_FD"
"""Environment variable of a worker: the page's descriptor."""

MOST_REVOKED: Final = 10_000
"""Revoked tasks that are kept, as many as in Celery's own workers."""

_MOST_TICKETS: Final = 100
_LONGEST_TICKET: Final = 255
_SIZE: Final = 2 * 2**20
_REVOKED_BYTES: Final = _SIZE - 2**18
"""Bytes of the page for the ids of revoked tasks; the rest is for tickets and punctuation."""


class SupervisorNotices:
    """The supervisor's side: the revoked tasks, and the control messages that it has answered for busy workers."""

    def __init__(self) -> None:
        self.page = Page.create("mlq-notices", _SIZE)
        self._sizes: dict[str, int] = {}  # the bytes that each revoked id takes on the page
        self._revoked: tuple[str, ...] = ()
        self._revoked_bytes = 0
        self._tickets: deque[str] = deque(maxlen=_MOST_TICKETS)
        self._write()

    @property
    def revoked(self) -> tuple[str, ...]:
        """The ids of revoked tasks, the earliest first.

        The mailbox thread replaces the tuple by one assignment, because the loop reads it at each death of a worker: it
        must not iterate over a dictionary that changes meanwhile.
        """
        return self._revoked

    def revoke(self, task_ids: Iterable[str]) -> None:
        """Add tasks that must not run. If the page is full, the earliest ones are dropped.

        Ids that no task can have are ignored.
        """
        for task_id in filter(is_task_id, task_ids):
            size = len(orjson.dumps(task_id)) + 1
            self._revoked_bytes += size - self._sizes.pop(task_id, 0)
            self._sizes[task_id] = size
            while len(self._sizes) > MOST_REVOKED or self._revoked_bytes > _REVOKED_BYTES:
                self._revoked_bytes -= self._sizes.pop(next(iter(self._sizes)))
        self._revoked = tuple(self._sizes)
        self._write()

    def answered(self, ticket: str) -> None:
        """Add the ticket of a control message that the worker must not answer again."""
        self._tickets.append(ticket[:_LONGEST_TICKET])
        self._write()

    def _write(self) -> None:
        self.page.write(orjson.dumps({"revoked": self._revoked, "tickets": list(self._tickets)}))


class NoticeReader:
    """The worker's side of the page."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._tickets: frozenset[str] = frozenset()
        self._revoked: list[str] = []
        self._is_reported = True

    @classmethod
    def inherited(cls) -> NoticeReader | None:
        """Open the page of this worker's supervisor; None for a worker without a supervisor."""
        fd = os.environ.get(VARIABLE)
        return cls(Page.inherited(int(fd))) if fd is not None else None

    def revoked(self) -> list[str] | None:
        """Return the revoked tasks if the page has changed since the last call, else None."""
        self._refresh()
        is_reported, self._is_reported = self._is_reported, True
        return None if is_reported else self._revoked

    def is_answered(self, ticket: str | None) -> bool:
        """Return whether the supervisor has answered the control message with this ticket."""
        self._refresh()
        return ticket is not None and ticket[:_LONGEST_TICKET] in self._tickets

    def _refresh(self) -> None:
        if not self._page.has_changed():
            return
        fields = orjson.loads(self._page.read() or b'{"revoked": [], "tickets": []}')
        self._revoked, self._tickets = fields["revoked"], frozenset(fields["tickets"])
        self._is_reported = False
