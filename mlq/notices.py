"""Notices: the page on which a supervisor writes what all its workers must know, without a request to anybody."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterable
from typing import Final

import orjson

from mlq.page import Page

VARIABLE: Final = "MLQ_NOTICES_FD"
"""Names the page's descriptor in the worker's environment."""

MOST_REVOKED: Final = 10_000
"""As many as Celery's own workers remember."""

_MOST_TICKETS: Final = 100
_SIZE: Final = 2 * 2**20


class Notices:
    """In the supervisor: tasks that were revoked, and control messages that it has answered for a busy worker."""

    def __init__(self) -> None:
        self.page = Page.create("mlq-notices", _SIZE)
        self._revoked: dict[str, None] = {}
        self._tickets: deque[str] = deque(maxlen=_MOST_TICKETS)
        self._write()

    @property
    def revoked(self) -> Collection[str]:
        """Ids of revoked tasks, the earliest first."""
        return self._revoked.keys()

    def revoke(self, task_ids: Iterable[str]) -> None:
        """Add tasks that are not to be run."""
        self._revoked.update(dict.fromkeys(task_ids))
        for old in list(self._revoked)[: max(0, len(self._revoked) - MOST_REVOKED)]:
            del self._revoked[old]
        self._write()

    def answered(self, ticket: str) -> None:
        """Add a control message that the worker must not answer once more."""
        self._tickets.append(ticket)
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
        return ticket in self._tickets

    def _look(self) -> None:
        if not self._page.has_changed():
            return
        fields = orjson.loads(self._page.read() or b'{"revoked": [], "tickets": []}')
        self._revoked, self._tickets = fields["revoked"], frozenset(fields["tickets"])
        self._told = False
