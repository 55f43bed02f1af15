"""Event log: what happened in a deployment, in one capped stream; today the orders of operators and their results.

An order is two entries: one before it is carried out and one after it. So an order whose process died in between, or
that was recorded and never carried out, has no second entry, and that can be told from one that failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from mlq.broker import script
from mlq.protocol import exact_json, keys

if TYPE_CHECKING:
    from redis import Redis

MOST_ENTRIES: Final = 20_000
"""10,000 orders. With MOST_CHARACTERS in each of five texts, 30 MB in the worst case and 4 MB in practice."""

MOST_CHARACTERS: Final = 300
"""Of one text in an entry."""

BEGUN: Final = "order"
ENDED: Final = "order-end"

Result = Literal["done", "failed", "pending", "interrupted"]
"""`pending`: the order stands, but the command did not wait until it was carried out."""

_PAGE: Final = 500
_BLOCK_MS: Final = 1000


@dataclass(frozen=True)
class RecordedOrder:
    """An order as it is recorded.

    `at_ms` is the time of the server's clock. `result` is None while no end is recorded: the order is being carried
    out, or the process that gave it has died meanwhile.
    """

    id: str
    at_ms: int
    order: str
    what: str
    who: str
    host: str
    pid: int
    result: str | None = None
    detail: str | None = None


def begin(redis: Redis, order: str, what: str, who: str, host: str, pid: int) -> str:
    """Record that an order is about to be carried out; return the name of its entry. Also while memory is full."""
    return _add(redis, BEGUN, {"order": order, "what": what, "who": who, "host": host, "pid": pid})


def end(redis: Redis, entry: str, result: Result, detail: str) -> None:
    """Record what became of an order; once more, if it was pending."""
    _add(redis, ENDED, {"of": entry, "result": result, "detail": detail})


def read(redis: Redis, since_ms: int = 0) -> list[RecordedOrder]:
    """Return the orders that were given since then, the oldest first, each with its end if there is one."""
    orders: dict[str, RecordedOrder] = {}
    for order in _orders(_pages(redis, since_ms)):
        known = orders.get(order.id)
        if known is not None:
            orders[order.id] = replace(known, result=order.result, detail=order.detail)
        elif order.order:  # else the end of an order from before that time
            orders[order.id] = order
    return list(orders.values())


def follow(redis: Redis, since_ms: int | None) -> Iterator[RecordedOrder]:
    """Yield each order when it is given and again, with its result, when it has ended; without end.

    `since_ms` None leaves out what is there already.
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
    body = exact_json.dumps(texts)  # orjson refuses half characters, which file names may hold
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
    """Read entries. Kinds of later versions, and what is no entry at all, are left out."""
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
