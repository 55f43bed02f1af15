"""Event log: the orders of operators and their results, in one Redis stream of limited length.

The first entry of an order is written before the order is carried out. Each later entry records a result: done, failed,
interrupted, or pending, which another result may follow. An order without a result is still being carried out, or its
process has died.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from mlq.broker import script
from mlq.protocol import json_text, keys

if TYPE_CHECKING:
    from redis import Redis

MOST_ENTRIES: Final = 20_000
"""Entries in the stream: 10,000 orders. They take 30 MB if all texts have MOST_CHARACTERS, and 4 MB in practice."""

MOST_CHARACTERS: Final = 300
"""Characters of one text in an entry."""

BEGUN: Final = "order"
ENDED: Final = "order-end"

Result = Literal["done", "failed", "pending", "interrupted"]
"""`pending`: the order was given to the workers, and its outcome is not known yet."""

_PAGE: Final = 500
_BLOCK_MS: Final = 1000


@dataclass(frozen=True)
class RecordedOrder:
    """An order as it is recorded."""

    id: str
    at_ms: int
    """By the server's clock."""

    order: str
    """The command, such as `worker stop`."""

    what: str
    """The target of the order, such as a worker or a queue."""

    who: str
    """The user who gave the order."""

    host: str
    """The host of the process that gave the order."""

    pid: int
    """The id of that process."""

    result: str | None = None
    """None while no result is recorded: the order is being carried out, or the process that gave it has died."""

    detail: str | None = None


def begin(redis: Redis, order: str, what: str, who: str, host: str, pid: int) -> str:
    """Record that an order is about to be carried out, even while memory is full; return the id of its entry."""
    return _add(redis, BEGUN, {"order": order, "what": what, "who": who, "host": host, "pid": pid})


def end(redis: Redis, entry: str, result: Result, detail: str) -> None:
    """Record the result of an order. A pending order gets a second result later."""
    _add(redis, ENDED, {"of": entry, "result": result, "detail": detail})


def read(redis: Redis, since_ms: int = 0) -> list[RecordedOrder]:
    """Return the orders given since a time, the oldest first, each with its result if one is recorded."""
    orders: dict[str, RecordedOrder] = {}
    for order in _orders(_pages(redis, since_ms)):
        known = orders.get(order.id)
        if known is not None:
            orders[order.id] = replace(known, result=order.result, detail=order.detail)
        elif order.order:  # otherwise it is the result of an order from before that time
            orders[order.id] = order
    return list(orders.values())


def follow(redis: Redis, since_ms: int | None) -> Iterator[RecordedOrder]:
    """Yield each order when it is given, and again with its result; the iteration does not end.

    With `since_ms` None, only orders from now on.
    """
    last: Any = "$" if since_ms is None else f"{max(0, since_ms)}-0"
    known: dict[str, RecordedOrder] = {}
    while True:
        reply: Any = redis.xread({keys.EVENTS: last}, count=_PAGE, block=_BLOCK_MS)
        if not reply:
            continue
        entries = next(iter(reply.values()))[0] if isinstance(reply, dict) else reply[0][1]
        last = entries[-1][0]
        for order in _orders(entries):
            if order.result is None:
                known[order.id] = order
                yield order
            elif (begun := known.get(order.id)) is not None:
                if order.result != "pending":
                    del known[order.id]
                yield replace(begun, result=order.result, detail=order.detail)


def _add(redis: Redis, kind: str, fields: dict[str, Any]) -> str:
    texts = {k: v[:MOST_CHARACTERS] if isinstance(v, str) else v for k, v in fields.items()}
    body = json_text.dumps(texts)  # orjson refuses lone surrogates, which file names may contain
    command = ["XADD", keys.EVENTS, "MAXLEN", "~", MOST_ENTRIES, "*", "kind", kind, "body", body]
    (entry,) = script.run_commands(redis, command)
    return str(entry.decode() if isinstance(entry, bytes) else entry)


def _pages(redis: Redis, since_ms: int) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    begin_at = str(max(0, since_ms))
    while page := _page(redis, begin_at):
        yield from page
        begin_at = f"({page[-1][0].decode()}"


def _page(redis: Redis, begin_at: str) -> Sequence[tuple[bytes, dict[bytes, bytes]]]:
    page: Any = redis.xrange(keys.EVENTS, min=begin_at, count=_PAGE)
    return page or ()


def _orders(entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> Iterator[RecordedOrder]:
    """Parse entries; skip invalid ones, and kinds of entries that a later version writes."""
    for raw_id, fields in entries:
        kind = fields.get(b"kind", b"").decode(errors="replace")
        try:
            body = orjson.loads(fields.get(b"body", b""))
        except orjson.JSONDecodeError:
            continue
        if not isinstance(body, dict):
            continue
        if kind == BEGUN:
            entry = raw_id.decode()
            texts = {name: _text(body, name) for name in ("order", "what", "who", "host")}
            pid = body.get("pid")
            yield RecordedOrder(entry, int(entry.partition("-")[0]), **texts, pid=pid if isinstance(pid, int) else 0)
        elif kind == ENDED:
            about = _text(body, "result") or "?", _text(body, "detail")
            yield RecordedOrder(_text(body, "of"), 0, "", "", "", "", 0, *about)


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    return value[:MOST_CHARACTERS] if isinstance(value, str) else ""
