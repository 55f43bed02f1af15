"""Records: validation of values that another process has written to Redis.

The writer may be another version of mlq, or any client with rights to the key. An unknown field is skipped; a value of
a wrong type makes the record unreadable, and the reader gets one exception for all such cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from types import UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson

from mlq.ipc.shared_pages import known

T = TypeVar("T")

_LARGEST: Final = 2**63
"""Numbers from here on are neither a count nor a time."""


class UnreadableRecord(ValueError):
    """A record that cannot be read; the text is the reason."""


def read(kind: Callable[..., T], value: bytes) -> T:
    """Read a dataclass from JSON. Raises UnreadableRecord."""
    try:
        told = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise UnreadableRecord("it is not JSON") from None
    if not isinstance(told, dict):
        raise UnreadableRecord("it is not a JSON object")
    hints = _hints(kind)
    for name, said in told.items():
        if name in hints and not _is(said, hints[name]):
            raise UnreadableRecord(f"its {name!r} is of another type")
    lists = {n: tuple(told[n]) for n, hint in hints.items() if get_origin(hint) is tuple and n in told}
    try:
        return known(kind, {**told, **lists})
    except TypeError:
        raise UnreadableRecord("a field is missing") from None


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


def _is(said: Any, hint: Any) -> bool:
    """Return True if a decoded JSON value has the given type; only the types that records use are supported."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_is(said, one) for one in inside)
    if origin is Literal:
        return said in inside
    if origin in (tuple, list):
        return isinstance(said, list) and all(_is(one, inside[0]) for one in said)
    if origin is dict:
        return isinstance(said, dict) and all(_is(one, inside[1]) for one in said.values())
    if hint is float or hint is int:
        kinds = (int, float) if hint is float else (int,)
        return isinstance(said, kinds) and not isinstance(said, bool) and math.isfinite(said) and abs(said) < _LARGEST
    return said is None if hint is type(None) else isinstance(said, hint)
