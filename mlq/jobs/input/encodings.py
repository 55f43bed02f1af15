"""Encodings: text files in other encodings are converted to UTF-8, which all formats read.

Decoding is strict: a byte that does not fit is an error with its position, not a replacement character.
"""

from __future__ import annotations

import codecs
import difflib
from encodings.aliases import aliases
from typing import Final

from mlq.errors import UsageError
from mlq.jobs.errors import NotText
from mlq.jobs.input.stream import Stream

UTF8: Final = "utf-8"

COMMON: Final = (
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "windows-1252", "iso-8859-15", "windows-1250",
    "windows-1251", "koi8-r", "shift_jis", "euc-jp", "gb18030", "big5", "euc-kr", "macroman",
)  # fmt: skip
"""Encodings that completion offers. Every text encoding of Python is accepted."""

_MARKS: Final = (  # the longer first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LONGEST_MARK: Final = 4
_MATCHES: Final = {"utf-8-sig": UTF8, "utf-16": "utf-16-*", "utf-32": "utf-32-*"}
"""For an encoding that --encoding names, the encoding of the mark; `utf-16-*` stands for both byte orders."""

_NOT_FOR_FILES: Final = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf_7", "undefined"})
"""Text encodings of Python that no file should have.

Their decoders cannot decode block by block, or accept bytes that are not text.
"""


def find(name: str) -> str:
    """Return Python's name of a text encoding. Raises UsageError, which suggests a similar name."""
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError, ImportError):
        known = [*COMMON, *aliases, *aliases.values()]
        nearest = difflib.get_close_matches(name.lower(), known, 1)
        fix = f"did you mean {nearest[0]}?" if nearest else f"such as {', '.join(COMMON[:7])}"
        raise UsageError(what=f"--encoding {name} is no encoding that Python knows", fix=fix) from None
    if not getattr(found, "_is_text_encoding", True) or found.name.replace("-", "_") in _NOT_FOR_FILES:
        raise UsageError(what=f"--encoding {name} is no encoding of text files", fix=f"such as {', '.join(COMMON[:7])}")
    return found.name


def as_utf8(stream: Stream, shown: str, encoding: str | None) -> Stream:
    """Read a stream as UTF-8, without its byte-order mark. If there is a mark, it decides the encoding.

    Bytes in UTF-8 are passed on unchanged: the reader of each format checks them, and can name the row. Raises NotText
    if the mark contradicts `encoding`, or a byte does not fit the encoding.
    """
    head = stream.peek(_LONGEST_MARK)
    mark, marked = next(((m, e) for m, e in _MARKS if head.startswith(m)), (b"", None))
    if mark and encoding is not None and not _agree(marked or "", encoding):
        raise NotText(path=shown, line=1, where=f"begins with the byte-order mark of {marked}, and is not {encoding}")
    if mark:
        stream.read(len(mark))
    found = marked or encoding or UTF8
    return stream if _MATCHES.get(found, found) == UTF8 else _Decoder(stream, shown, found).stream


def not_utf8(line: bytes) -> str | None:
    """Describe the first byte of a line that is not UTF-8, counted from 1; None if there is none."""
    try:
        line.decode()
    except UnicodeDecodeError as exc:
        return f"byte {exc.start + 1} (0x{line[exc.start]:02x}) is not UTF-8"
    return None


def _agree(marked: str, given: str) -> bool:
    """Return True if the encoding of a byte-order mark is the one that --encoding names."""
    # marked[:6] is "utf-16" or "utf-32": --encoding may name these without a byte order, and agrees with both marks.
    return given == marked or _MATCHES.get(given, given) in (marked, f"{marked[:6]}-*")


class _Decoder:
    """Decodes a stream block by block."""

    def __init__(self, stream: Stream, shown: str, encoding: str) -> None:
        self._source = stream
        self._shown = shown
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._line = 1
        self._column = 1
        self.stream = Stream(self._read)

    def _read(self, size: int) -> bytes:
        decoded = ""
        while not decoded:
            block = self._source.read(size)
            try:
                decoded = self._decoder.decode(block, final=not block)
                encoded = decoded.encode()
            except UnicodeDecodeError as exc:
                raise self._error(exc) from None
            except UnicodeEncodeError:
                raise NotText(path=self._shown, line=self._line, where="holds half a surrogate pair") from None
            if not block:
                return encoded
        self._line, self._column = self._after(decoded)
        return encoded

    def _after(self, text: str) -> tuple[int, int]:
        """Return the line and the column that follow when `text` comes next."""
        lines = text.count("\n")
        column = len(text) - text.rindex("\n") if lines else self._column + len(text)
        return self._line + lines, column

    def _error(self, exc: UnicodeDecodeError) -> NotText:
        line, column = self._after(exc.object[: exc.start].decode(self._encoding, "replace"))
        found = " ".join(f"0x{byte:02x}" for byte in exc.object[exc.start : exc.end])
        return NotText(path=self._shown, line=line, where=f"character {column} ({found}) is not {self._encoding}")
