"""Events for people and scripts: a table, a line each, or mlq.event/1. The JSON shape is a contract and only grows."""

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
"""It is being carried out, or the process that gave it has died meanwhile."""


def document(order: RecordedOrder) -> dict[str, Any]:
    """mlq.event/1."""
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
    """Draw when, who, what, and what became of it."""
    drawn = table("TIME", WHO=False, ORDER=False, WHAT=False, RESULT=False)
    for order in orders:
        row(drawn, _at(order.at_ms), _who(order), order.order, order.what, _result(order))
    return drawn


def line(order: RecordedOrder) -> str:
    """Write an order as one line of text."""
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
