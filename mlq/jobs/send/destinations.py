"""Destinations: the queues to which a job is sent are known, or --create-queue creates them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mlq.errors import ReservedQueue, UnknownQueue
from mlq.jobs.connections import JobConnections
from mlq.jobs.input.sources import Input
from mlq.jobs.row import RowError
from mlq.jobs.send.submission import Plan
from mlq.protocol import reserved_names
from mlq.store.queues import queue_names

_ROWS_AT_ONCE = 1024
_LARGEST_BYTES = 2**24


class QueueCheck:
    """Knows to which queues a job may be sent. With `create`, an unknown queue is accepted, too.

    Names that are used are recorded, so that `mlq queues` lists the queue while no worker serves it.
    """

    def __init__(self, connections: JobConnections, *, create: bool) -> None:
        self._store = connections.store
        self._names = queue_names.known(connections.settings, connections.store)
        self._known = set(self._names)
        self._create = create
        self._noted: set[str] = set()

    def demand(self, name: str, where: str = "") -> None:
        """Accept a name, or raise UnknownQueue, ReservedQueue."""
        if reserved_names.is_reserved(name):
            raise ReservedQueue(name=name, where=where, reason=reserved_names.why_not_a_queue(name))
        if not self._admit(name):
            raise UnknownQueue(name=name, where=where, meant=queue_names.hint(name, self._names))

    def error(self, name: str) -> RowError | None:
        """Accept a name, or return the error of its row: from a pipe, earlier rows are sent already."""
        if self._admit(name):
            return None
        if reserved_names.is_reserved(name):
            return RowError("UnknownQueue", f"{name!r} can name no queue: {reserved_names.why_not_a_queue(name)}")
        meant = queue_names.hint(name, self._names).rstrip(";")
        return RowError("UnknownQueue", f"no queue {name!r}: neither the configuration nor a worker knows it; {meant}")

    def _admit(self, name: str) -> bool:
        if reserved_names.is_reserved(name) or (name not in self._known and not self._create):
            return False
        if name not in self._noted:
            queue_names.note(self._store, [name])
            self._noted.add(name)
        return True


def checked(plan: Plan, connections: JobConnections) -> Plan:
    """Check the queue of a job, and for a file of tasks those of its rows, before anything is sent.

    Returns the plan with the check of queues, which rows from a pipe need later. Raises UnknownQueue, ReservedQueue.
    """
    queues = QueueCheck(connections, create=plan.request.create_queue)
    queues.demand(plan.job.queue)
    if plan.request.tasks and not plan.is_piped:
        for index, name in _own_queues(plan.request.input):
            queues.demand(name, f" (row {index} of {plan.request.input.name})")
    return replace(plan, queues=queues)


def _own_queues(given: Input) -> Iterator[tuple[int, str]]:
    """Yield each queue that rows name, after the index of the first row that does."""
    seen: set[str] = set()
    with given.opened() as source:
        index = 0
        while rows := source.take(_ROWS_AT_ONCE, _LARGEST_BYTES):
            for place, row in enumerate(rows, index):
                name = _queue_in(row)
                if name is not None and name not in seen:
                    seen.add(name)
                    yield place, name
            index += len(rows)


def _queue_in(row: Any) -> str | None:
    """Return the queue that a row names, inside an envelope, too. A row that is not a task gets its error later."""
    task = row.get("input", row.get("body", row)) if isinstance(row, dict) and "task" not in row else row
    name = task.get("queue") if isinstance(task, dict) else None
    return name if isinstance(name, str) and name else None
