"""Redis keys at one moment: their names without volatile parts, their types, whether they expire, and their content."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from redis import Redis

from tests.contract.json_shapes import shape_of
from tests.contract.placeholders import replace_names

Held = dict[str, set[str]]
"""The content of a key: field (or "member", "value") → the forms in which it was seen."""

Field = tuple[str, Iterable[str]]

_PASSING: Final = re.compile(r"^mlq:(?:probe$|bell:|claims:|watches$|last-lines:|job:[^:]+:sender:)")
"""Keys that exist only for an instant, so that a recording may miss them."""

_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")


class KeyLog:
    """The keys of named moments, and all content of each key that was seen."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._moments: dict[str, list[str]] = {}
        self._kinds: dict[str, set[str]] = {}
        self._held: dict[str, Held] = {}

    def note(self, moment: str, *passing: str) -> None:
        """Record the keys of this moment. Short-lived keys are recorded only if they are named: `mlq:claims:`."""
        names = {self._look(key) for key in self._redis.scan_iter(count=1000)} - {""}
        wanted = [n for n in names if not _PASSING.match(n) or n.startswith(passing)] if passing else _lasting(names)
        self._moments[moment] = sorted(wanted)

    def document(self) -> dict[str, Any]:
        """Return the recorded document: the names of every moment, and the form of every key in it."""
        named = {name for names in self._moments.values() for name in names}
        forms = {
            name: {
                "type": " | ".join(sorted(self._kinds[name])),
                "holds": {field: sorted(forms) for field, forms in self._held[name].items()},
            }
            for name in named
        }
        return {"moments": self._moments, "keys": forms}

    def _look(self, key: bytes) -> str:
        """Record one key, and return its name, or an empty name if the key no longer exists."""
        found: Any = self._redis.type(key)
        kind, expires = found.decode(), self._redis.pttl(key) >= 0
        if kind == "none":
            return ""
        name = replace_names(key.decode())
        self._kinds.setdefault(name, set()).add(f"{kind}, {'expires' if expires else 'permanent'}")
        held = self._held.setdefault(name, {})
        for field, forms in _READ[kind](self._redis, key):
            held.setdefault(field, set()).update(forms)
        return name


def _lasting(names: Iterable[str]) -> list[str]:
    return [name for name in names if not _PASSING.match(name)]


def _forms(value: bytes) -> Iterator[str]:
    """Return the form of a value: the shape of a JSON object, a number, a text."""
    text = value.decode(errors="replace")
    if "\ufffd" in text:
        yield "bytes"
    elif _NUMBER.fullmatch(text):
        yield "number"
    elif (found := _object(text)) is None:
        yield _with_message(text) if "{" in text else "text"
    elif "headers" in found and "body" in found:
        yield "<message>"
    else:
        yield from (f"{path}: {kind}" for path, kind in shape_of([found]).items())


def _object(text: str) -> dict[str, Any] | None:
    """Read a JSON object from the first line of a text, or return None."""
    try:
        found = json.loads(text.partition("\n")[0])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _with_message(text: str) -> str:
    """Replace the message that is part of a text by a placeholder."""
    return replace_names(re.sub(r"\{.*\}", "<message>", text, flags=re.DOTALL))


def _string(redis: Redis, key: bytes) -> Iterator[Field]:
    value: Any = redis.get(key)
    yield "value", _forms(value or b"")


def _hash(redis: Redis, key: bytes) -> Iterator[Field]:
    fields: Any = redis.hgetall(key)
    yield from ((replace_names(field.decode()), _forms(value)) for field, value in fields.items())


def _stream(redis: Redis, key: bytes) -> Iterator[Field]:
    entries: Any = redis.xrange(key)
    for _, fields in entries:
        yield from ((field.decode(), _forms(value)) for field, value in fields.items())


def _list(redis: Redis, key: bytes) -> Iterator[Field]:
    yield "members", _members(redis.lrange(key, 0, -1))


def _set(redis: Redis, key: bytes) -> Iterator[Field]:
    yield "members", _members(redis.smembers(key))


def _zset(redis: Redis, key: bytes) -> Iterator[Field]:
    yield "members", _members(redis.zrange(key, 0, -1))


def _members(found: Any) -> Iterator[str]:
    return (_with_message(member.decode(errors="replace")) for member in found)


_READ: Final[dict[str, Callable[[Redis, bytes], Iterator[Field]]]] = {
    "string": _string,
    "hash": _hash,
    "stream": _stream,
    "list": _list,
    "set": _set,
    "zset": _zset,
}
