"""JSON documents: an array of rows, an object around one ({"inputs": […]}, {"instances": […]}), or a row.

A large array is read element by element. The standard library's scanner finds where an element ends; its bytes are
then decoded as those of any row are, so a value means the same in a document of any size.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from mlq.jobs.errors import NotJson
from mlq.jobs.input.encodings import not_utf8
from mlq.jobs.input.stream import Stream
from mlq.jobs.row import LARGEST_BYTES, too_large
from mlq.protocol import json_text

WRAPPERS: Final = ("inputs", "instances")
"""An object that holds one of these alone is around the rows, as inference servers have it."""

_WHOLE_BYTES: Final = 16 * 2**20
"""A document of up to this is decoded at once, which is several times faster than as a stream."""

_LARGEST_ELEMENT: Final = 4 * LARGEST_BYTES
"""An element is read to its end up to this size, to say that its row is too large and go on behind it."""

_BLOCK: Final = 2**18
_HEAD: Final = 1024
"""What is looked at to find out whether an object is around the rows."""

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_WRAPPED: Final = re.compile(r'\s*\{\s*"(?:' + "|".join(WRAPPERS) + r')"\s*:\s*(?=\[)', re.ASCII)
_LONGEST_WORD: Final = len("-Infinity")
_UNFINISHED: Final = "Unterminated string"


def values(stream: Stream, shown: str) -> Iterator[Any]:
    """Return the rows of a document. Raises NotJson with the line and the column."""
    if len(stream.peek(_WHOLE_BYTES + 1)) <= _WHOLE_BYTES:
        yield from _unwrapped(_whole(stream.read(_WHOLE_BYTES + 1), shown))
    else:
        yield from _Array(stream, shown).rows()


def _whole(content: bytes, shown: str) -> Any:
    try:
        return json_text.loads_strict(content)
    except orjson.JSONDecodeError as exc:
        raise _not_json(content, shown, exc) from None


def _not_json(content: bytes, shown: str, exc: orjson.JSONDecodeError) -> NotJson:
    for number, line in enumerate(content.split(b"\n"), 1):
        if reason := not_utf8(line):
            return NotJson(path=shown, line=number, column=1, reason=reason)
    return NotJson(path=shown, line=exc.lineno, column=exc.colno, reason=exc.msg)


def _unwrapped(document: Any) -> list[Any]:
    if isinstance(document, dict) and len(document) == 1:
        (name, held), *_ = document.items()
        if name in WRAPPERS and isinstance(held, list):
            return held
    return document if isinstance(document, list) else [document]


class _Array:
    """A large document: the text that was read and not taken yet, and how many lines were before it."""

    def __init__(self, stream: Stream, shown: str) -> None:
        self._stream = stream
        self._shown = shown
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._scan = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._line = 1
        self._column = 1
        self._ended = False

    def rows(self) -> Iterator[Any]:
        """Return the elements. Raises NotJson."""
        while len(self._text) < _HEAD and not self._ended:
            self._more()
        wrapper = _WRAPPED.match(self._text)
        if wrapper:
            self._take(wrapper.end())
        if self._next() != "[":  # one value, and so one row
            yield too_large("the document", _WHOLE_BYTES)
            return
        self._take(self._at + 1)
        is_open = self._next() != "]"
        if not is_open:
            self._take(self._at + 1)
        while is_open:
            yield self._element()
            is_open = self._separator() == ","
            self._take(self._at + 1)
            self._next()
        if wrapper:
            if self._next() != "}":
                raise self._broken("a large document holds nothing beside its rows", self._at)
            self._take(self._at + 1)
        if self._next():
            raise self._broken("unexpected content after document", self._at)

    def _element(self) -> Any:
        """Take the next element, decoded; reads on until it is there as a whole."""
        while True:
            try:
                _, end = self._scan(self._text, self._at)
            except json.JSONDecodeError as exc:
                is_cut = exc.msg.startswith(_UNFINISHED) or exc.pos >= len(self._text) - _LONGEST_WORD
                if self._ended or not is_cut or len(self._text) - self._at > _LARGEST_ELEMENT:
                    raise self._broken(exc.msg, exc.pos) from None
            except RecursionError:
                raise self._broken("depth limit exceeded", self._at) from None
            else:
                if end < len(self._text) or self._ended:  # else a number may go on
                    return self._decoded(end)
            self._more()

    def _decoded(self, end: int) -> Any:
        content = self._text[self._at : end].encode("utf-8", "surrogatepass")
        if len(content) > LARGEST_BYTES:
            self._take(end)
            return too_large("an element", len(content))
        try:
            value = json_text.loads_strict(content)
        except orjson.JSONDecodeError as exc:
            raise self._broken(exc.msg, self._at + exc.pos) from None
        self._take(end)
        return value

    def _separator(self) -> str:
        found = self._next()
        if found not in (",", "]") or not found:
            raise self._broken("expected , or ]", self._at)
        return found

    def _next(self) -> str:
        """Skip white space, and return the next character without taking it; "" at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._take(space.end() if space else self._at)
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._more()

    def _more(self) -> None:
        """Read on. What lacks its end is doubled, so that it is not scanned too often."""
        left = self._text[self._at :]
        block = self._stream.read(max(_BLOCK, len(left)))
        self._ended = not block
        try:
            self._text, self._at = left + self._decoder.decode(block, final=self._ended), 0
        except UnicodeDecodeError as exc:
            self._text, self._at = left + exc.object[: exc.start].decode(), 0
            reason = f"byte 0x{exc.object[exc.start]:02x} is not UTF-8"
            raise self._broken(reason, len(self._text)) from None

    def _take(self, end: int) -> None:
        """Leave the text up to here behind, and count its lines and columns."""
        lines = self._text.count("\n", self._at, end)
        self._line += lines
        self._column = end - self._text.rindex("\n", self._at, end) if lines else self._column + end - self._at
        self._at = end

    def _broken(self, reason: str, position: int) -> NotJson:
        self._take(position)
        return NotJson(path=self._shown, line=self._line, column=self._column, reason=reason)
