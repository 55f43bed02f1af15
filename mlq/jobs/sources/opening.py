"""Opening: from the name of an input to its source; as often as it takes, for an input that is a file."""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from mlq.errors import NoSuchFile, UsageError
from mlq.jobs.errors import NotReadable
from mlq.jobs.sources import documents, files, parquet, tables
from mlq.jobs.sources.format import BOM, GZIP, Format, sniff
from mlq.jobs.sources.lines import Lines
from mlq.jobs.sources.source import Source, Values

PACKING: Final = (gzip.BadGzipFile, EOFError, zlib.error)
"""What a broken gzip file raises."""

_BLOCK: Final = 2**20
_DELIMITERS: Final = {Format.CSV: ",", Format.TSV: "\t"}


@dataclass(frozen=True)
class Input:
    """What a job reads: a file, a directory, a glob, or `-` for standard input."""

    name: str
    format: Format
    inline: bool = False

    @property
    def path(self) -> Path | None:
        """The file, or what holds the files; None for standard input."""
        return None if self.name == "-" else Path(self.name)

    @contextmanager
    def opened(self, digest: hashlib.blake2b | None = None) -> Iterator[Source]:
        """Read it from its beginning; `digest` is fed with the bytes that are read, where reading is one stream.

        Raises NoSuchFile.
        """
        with ExitStack() as stack:
            if self.format is Format.FILES:
                yield Values(files.values(files.found(self.name), inline=self.inline))
            elif self.format is Format.PARQUET:
                yield Values(parquet.values(Path(self.name)))
            else:
                stream = stack.enter_context(_stream(self.path, digest))
                yield self._over(stream)

    @contextmanager
    def stream(self) -> Iterator[BinaryIO]:
        """Read its bytes, unpacked. Raises NoSuchFile."""
        with _stream(self.path, None) as stream:
            yield stream

    @property
    def delimiter(self) -> str | None:
        """What parts the fields of a table."""
        return _DELIMITERS.get(self.format)

    def _over(self, stream: BinaryIO) -> Source:
        if self.format is Format.JSONL:
            return Lines(stream)
        if self.delimiter is not None:
            return Values(tables.values(stream, self.delimiter, self.name))
        return Values(documents.values(stream, self.name))


def find(name: str, given: Format | None = None, *, inline: bool = False) -> Input:
    """Look at an input. Standard input is JSON Lines unless told otherwise.

    Raises NoSuchFile, NotReadable, UsageError.
    """
    if name == "-":
        given = given or Format.JSONL
    if given is None and (Path(name).is_dir() or files.is_glob(name)):
        given = Format.FILES
    if given is None:
        try:
            with _stream(Path(name), None) as stream:
                given = sniff(stream, name)
        except PACKING as exc:
            raise NotReadable(path=name, kind="gzip", reason=exc) from None
    if inline and given is not Format.FILES:
        raise UsageError(what=f"--inline is for a directory or a pattern, not for {name}", mend="leave it out")
    if given is Format.FILES and not files.found(name):
        raise NoSuchFile(path=name, mend="name a directory that holds files, or a pattern that fits some")
    return Input(name, given, inline)


def fingerprint(given: Input) -> str:
    """Make the fingerprint of an input that is not read as one stream."""
    digest = hashlib.blake2b(digest_size=16)
    if given.format is Format.FILES:
        for path in files.found(given.name):
            about = path.stat()
            digest.update(os.fsencode(path) + f"\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    else:
        with Path(given.name).open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def _stream(path: Path | None, digest: hashlib.blake2b | None) -> Iterator[BinaryIO]:
    """Open a file, unpacked if it is packed, without the mark that some editors put first."""
    if path is None:
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            raw: Any = stack.enter_context(path.open("rb"))
            start = raw.peek(len(BOM))
        except FileNotFoundError:
            raise NoSuchFile(path=path, mend="check the path; `-` reads JSON Lines from standard input") from None
        except OSError as exc:
            raise NoSuchFile(path=f"{path} ({exc.strerror})", mend="name a file that can be read") from None
        if digest is not None:
            raw = _Digested(raw, digest)
        if start.startswith(GZIP):
            raw = stack.enter_context(gzip.open(raw, "rb"))
        elif start.startswith(BOM):
            raw.read(len(BOM))
        yield cast("BinaryIO", raw)


class _Digested:
    """A stream that digests what is read of it."""

    def __init__(self, stream: BinaryIO, digest: hashlib.blake2b) -> None:
        self._stream = stream
        self._digest = digest

    def read(self, size: int = -1) -> bytes:
        return self._digested(self._stream.read(size))

    def readline(self) -> bytes:
        return self._digested(self._stream.readline())

    def _digested(self, block: bytes) -> bytes:
        self._digest.update(block)
        return block

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
