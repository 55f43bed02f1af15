"""Recorded orders as a table, lines of text and mlq.event/1. Scripts rely on the fields: add fields, remove none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from mlq.terminal.printable import printable
from mlq.terminal.tables import row, table

if TYPE_CHECKING:
    from rich.table import Table

    from mlq.store.event_log import RecordedOrder

_NO_END: Final = "no end recorded"
"""Shown for an order that is being carried out, or whose process died before it could record the result."""


def document(order: RecordedOrder) -> dict[str, Any]:
    """Describe an order as mlq.event/1."""
    return {
        "schema": "mlq.event/1",
        "id": order.id,
        "at": _at(order.at_ms),
        "kind": "order",
        "order": order.order,
        "what": order.what,
        "user": order.who,
        "host": order.host,
        "pid": order.pid,
        "result": order.result,
        "detail": order.detail,
    }


def orders_table(orders: Sequence[RecordedOrder]) -> Table:
    """Draw the time, the user, the order, its target and its result."""
    drawn = table("TIME", WHO=False, ORDER=False, WHAT=False, RESULT=False)
    for order in orders:
        row(drawn, _at(order.at_ms), _who(order), order.order, order.what, _result(order))
    return drawn


def line(order: RecordedOrder) -> str:
    """Write an order, or its result, as one line of text."""
    parts = _at(order.at_ms), _who(order), order.order, order.what, "given" if order.result is None else _result(order)
    return printable("  ".join(parts), limit=2000)


def _who(order: RecordedOrder) -> str:
    return f"{order.who}@{order.host} (pid {order.pid})"


def _result(order: RecordedOrder) -> str:
    if order.result is None:
        return _NO_END
    return f"{order.result}: {order.detail}" if order.detail else order.result


def _at(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
