"""Notices: the page on which a supervisor writes what all its workers must know, without a request to anybody."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterable
from typing import Final

import orjson

from mlq.ipc.shared_page import Page
from mlq.protocol.names import is_task_id

VARIABLE: Final = "MLQ_NOTICES_FD"
"""Names the page's descriptor in the worker's environment."""

MOST_REVOKED: Final = 10_000
"""As many as Celery's own workers remember."""

_MOST_TICKETS: Final = 100
_LONGEST_TICKET: Final = 255
_SIZE: Final = 2 * 2**20
_REVOKED_BYTES: Final = _SIZE - 2**18
"""Of the ids on the page, as they are written there; tickets and punctuation have the rest."""


class SupervisorNotices:
    """In the supervisor: tasks that were revoked, and control messages that it has answered for a busy worker."""

    def __init__(self) -> None:
        self.page = Page.create("mlq-notices", _SIZE)
        self._revoked: dict[str, int] = {}  # and the bytes that each takes on the page
        self._revoked_bytes = 0
        self._tickets: deque[str] = deque(maxlen=_MOST_TICKETS)
        self._write()

    @property
    def revoked(self) -> Collection[str]:
        """Ids of revoked tasks, the earliest first."""
        return self._revoked.keys()

    def revoke(self, task_ids: Iterable[str]) -> None:
        """Add tasks that are not to be run; the earliest are forgotten where there are too many, or too long ones.

        An id that no task can have is left out.
        """
        for task_id in filter(is_task_id, task_ids):
            size = len(orjson.dumps(task_id)) + 1
            self._revoked_bytes += size - self._revoked.pop(task_id, 0)
            self._revoked[task_id] = size
            while len(self._revoked) > MOST_REVOKED or self._revoked_bytes > _REVOKED_BYTES:
                self._revoked_bytes -= self._revoked.pop(next(iter(self._revoked)))
        self._write()

    def answered(self, ticket: str) -> None:
        """Add a control message that the worker must not answer once more."""
        self._tickets.append(ticket[:_LONGEST_TICKET])
        self._write()

    def _write(self) -> None:
        self.page.write(orjson.dumps({"revoked": list(self._revoked), "tickets": list(self._tickets)}))


class NoticeReader:
    """In a worker."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._tickets: frozenset[str] = frozenset()
        self._revoked: list[str] = []
        self._told = True

    @classmethod
    def inherited(cls) -> NoticeReader | None:
        """Open the page that a supervisor has handed down; None for a worker without one."""
        fd = os.environ.get(VARIABLE)
        return cls(Page.inherited(int(fd))) if fd is not None else None

    def revoked(self) -> list[str] | None:
        """Give the revoked tasks if there is news, else None."""
        self._look()
        told, self._told = self._told, True
        return None if told else self._revoked

    def is_answered(self, ticket: str | None) -> bool:
        """Whether the supervisor has answered a control message."""
        self._look()
        return ticket is not None and ticket[:_LONGEST_TICKET] in self._tickets

    def _look(self) -> None:
        if not self._page.has_changed():
            return
        fields = orjson.loads(self._page.read() or b'{"revoked": [], "tickets": []}')
        self._revoked, self._tickets = fields["revoked"], frozenset(fields["tickets"])
        self._told = False
