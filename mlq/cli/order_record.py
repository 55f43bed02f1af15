"""The record of an operator's order: written to the event log before the order is carried out, and again at its end.

A record that cannot be written never stops an order. Redis may be out of memory, the key may have another type, rights
may be missing, or there may be no state store: the order is carried out, and the missing record is reported.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from mlq.broker.connection import state_store
from mlq.errors import MlqError, OrderPending
from mlq.store import event_log

if TYPE_CHECKING:
    from redis import Redis

    from mlq.cli.invocation import Invocation
    from mlq.store.event_log import Result


class Record:
    """The record of one order; the command sets `detail`, a few words on the outcome."""

    def __init__(self, call: Invocation, store: Redis | None) -> None:
        self.detail = ""
        self._call = call
        self._store = store
        self._entry: str | None = None
        self._trouble: Exception | None = None

    def begin(self, order: str, what: str) -> None:
        """Record the order and the user who gave it."""
        try:
            self._entry = event_log.begin(self._opened(), order, what, _user(), socket.gethostname(), os.getpid())
        except Exception as exc:  # noqa: BLE001 (an order is carried out even if its record cannot be written)
            self._trouble = exc

    def end(self, result: Result, detail: str) -> None:
        """Record the result of the order."""
        if self._entry is None:
            return
        try:
            event_log.end(self._opened(), self._entry, result, detail)
        except Exception as exc:  # noqa: BLE001 (see begin)
            if self._call.settings.broker_url is not None:  # an embedded broker ends with its last worker
                self._trouble = exc

    def report(self) -> None:
        """Warn if the order or its result could not be recorded."""
        if self._trouble is not None:
            reason = self._trouble.message if isinstance(self._trouble, MlqError) else self._trouble
            missing = "result of this order is" if self._entry else "order is"
            self._call.terminal.warn(f"warning: the {missing} not recorded for `mlq events`: {reason}")

    def _opened(self) -> Redis:
        if self._store is None:
            raise RuntimeError("the state store is not open")
        return self._store


@contextmanager
def recorded(call: Invocation, order: str, what: str, store: Redis | None = None) -> Iterator[Record]:
    """Record an order around the block that carries it out; an exception of the block is recorded and raised again.

    Args:
        call: This call of mlq.
        order: The order, such as `queues pause`.
        what: What the order is for, such as the name of the queue.
        store: The state store, if the command has it open.
    """
    with ExitStack() as stack:
        trouble: Exception | None = None
        if store is None:
            try:
                store = stack.enter_context(state_store(call.settings))
            except MlqError as exc:
                trouble = exc
        record = Record(call, store)
        record.begin(order, what)
        record._trouble = trouble or record._trouble  # noqa: SLF001 (the error of the connection says more)
        try:
            yield record
        except OrderPending as exc:
            record.end("pending", exc.message)
            record.report()
            raise
        except MlqError as exc:
            record.end("failed", exc.message)
            raise
        except BaseException as exc:
            record.end("interrupted" if isinstance(exc, KeyboardInterrupt) else "failed", type(exc).__name__)
            raise
        record.end("done", record.detail)
        record.report()


def _user() -> str:
    """Return the name of the process's user id; variables such as USER can be set to any name."""
    with suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return str(os.getuid())
