"""JSON documents: an array of rows, an object around one ({"inputs": […]}, {"instances": […]}), or a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import orjson

from mlq.jobs.errors import NotJson

WRAPPERS: Final = ("inputs", "instances")
"""An object that holds one of these alone is around the rows, as inference servers have it."""

_WHOLE_BYTES: Final = 16 * 2**20
"""A document of up to this is decoded at once, which is ten times faster than as a stream."""


def values(stream: BinaryIO, shown: str) -> Iterator[Any]:
    """Give the rows of a document. Raises NotJson with its line and column (of a large one, as far as is known)."""
    start = stream.read(_WHOLE_BYTES + 1)
    if len(start) <= _WHOLE_BYTES:
        yield from _unwrapped(_whole(start, shown))
        return
    counted = _Counted(start, stream)
    import ijson

    try:
        yield from ijson.items(counted, _prefix(start), use_float=True)
    except ijson.JSONError as exc:
        reason = " ".join(str(exc).splitlines()[0].split()) if str(exc) else "broken"
        raise NotJson(path=shown, line=counted.line, column=1, reason=f"{reason}, here or shortly before") from None


def _whole(content: bytes, shown: str) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as exc:
        raise NotJson(path=shown, line=exc.lineno, column=exc.colno, reason=exc.msg) from None


def _unwrapped(document: Any) -> list[Any]:
    if isinstance(document, dict) and len(document) == 1:
        (name, held), *_ = document.items()
        if name in WRAPPERS and isinstance(held, list):
            return held
    return document if isinstance(document, list) else [document]


def _prefix(start: bytes) -> str:
    """Say, as ijson writes it, where the rows of a large document are: judged by how it begins."""
    head = start.lstrip()
    if head.startswith(b"["):
        return "item"
    after = head[1:64].lstrip()
    found = next((w for w in WRAPPERS if after.startswith(b'"%s"' % w.encode())), None)
    return f"{found}.item" if found else ""


class _Counted:
    """A stream that knows how many lines it has given."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start = start
        self._rest = rest
        self.line = 1

    def read(self, size: int = -1) -> bytes:
        if self._start:
            size = len(self._start) if size < 0 else size
            block, self._start = self._start[:size], self._start[size:]
        else:
            block = self._rest.read(size)
        self.line += block.count(b"\n")
        return block
