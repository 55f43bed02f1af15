"""Inputs: finds what the argument FILE names, and opens it as a source; a file can be opened several times."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mlq.errors import NoSuchFile, UsageError
from mlq.jobs.errors import NotReadable, ReadFailed
from mlq.jobs.input import delimiters as separators
from mlq.jobs.input import documents, encodings, files, handles, parquet, tables
from mlq.jobs.input.format import TABLES, TEXTS, InputFormat, by_name, demand_text, is_parquet, sniff
from mlq.jobs.input.handles import Say
from mlq.jobs.input.lines import JsonLines
from mlq.jobs.input.source import Source, Values
from mlq.jobs.input.stream import Stream

_BLOCK: Final = 2**20
_MAGIC: Final = 8


@dataclass(frozen=True)
class Reading:
    """The options of `mlq submit` that say how to read an input."""

    format: InputFormat | None = None
    inline: bool = False
    encoding: str | None = None
    delimiter: str | None = None


@dataclass(frozen=True)
class Input:
    """The input of a job: a file, a directory, a glob, or `once`, an open stream that can be read only once."""

    name: str
    format: InputFormat
    reading: Reading = field(default_factory=Reading)
    once: Stream | None = None

    @property
    def path(self) -> Path | None:
        """The file, the directory or the glob; None for a stream."""
        return None if self.once is not None else Path(self.name)

    @property
    def shown(self) -> str:
        """The name as text that UTF-8 can hold."""
        return handles.shown(self.name)

    @property
    def is_text(self) -> bool:
        """Whether the input is text, which is read as one stream."""
        return self.format in TEXTS

    @property
    def is_table(self) -> bool:
        """Whether rows are records under a header."""
        return self.format in TABLES

    @contextmanager
    def opened(self, digest: hashlib.blake2b | None = None) -> Iterator[Source]:
        """Open the input at its beginning; `digest` is updated with the bytes that are read, if reading is one stream.

        Raises NoSuchFile; the source raises NotJson, NotText, NotReadable, ReadFailed, UnclearDelimiter.
        """
        if self.format is InputFormat.FILES:
            yield Values(
                files.values(files.list_files(self.name), files.root_of(self.name), inline=self.reading.inline)
            )
        elif self.format is InputFormat.PARQUET:
            yield Values(parquet.values(Path(self.name), self.shown))
        else:
            with self.stream(digest) as stream:
                yield self._over(stream)

    @contextmanager
    def stream(self, digest: hashlib.blake2b | None = None) -> Iterator[Stream]:
        """Open the text of the input, decompressed and as UTF-8. Raises NoSuchFile."""
        if self.once is not None:
            yield self.once
            return
        with handles.opened(Path(self.name), digest) as raw:
            yield handles.text(raw, self.name, self.reading.encoding)

    @property
    def delimiter(self) -> str | None:
        """The character between the fields of a table; None if it is guessed from the first records."""
        return self.reading.delimiter or ("\t" if self.format is InputFormat.TSV else None)

    def _over(self, stream: Stream) -> Source:
        if self.format is InputFormat.JSONL:
            return JsonLines(stream)
        if self.is_table:
            return Values(tables.values(stream, self.delimiter, self.shown))
        return Values(documents.values(stream, self.shown))


def find(name: str, reading: Reading | None = None, say: Say = lambda _: None) -> Input:
    """Find an input. A stream is read as JSON Lines unless its suffix or --format says otherwise.

    `say` is called with a text for the user before a wait. Raises NoSuchFile, NotReadable, NotText, UsageError.
    """
    reading = reading or Reading()
    found = _once(name, reading, say) if handles.is_once(name) else _repeatable(name, reading)
    _demand_sense(found)
    return found


def fingerprint(given: Input) -> str:
    """Return the fingerprint of an input that is not read as one stream."""
    digest = hashlib.blake2b(digest_size=16)
    if given.format is InputFormat.FILES:
        for path in files.list_files(given.name):
            try:
                about = path.stat()
            except OSError as exc:
                raise ReadFailed(path=handles.shown(str(path)), reason=exc.strerror) from None
            digest.update(os.fsencode(path) + f"\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    else:
        with handles.opened(Path(given.name), digest) as stream:
            while stream.read(_BLOCK):
                pass
    return digest.hexdigest()


def _once(name: str, reading: Reading, say: Say) -> Input:
    form = reading.format or by_name(name) or InputFormat.JSONL
    if form is InputFormat.FILES:
        raise UsageError(what=f"--format files is for a directory or a pattern, not for {name}", fix="name one")
    raw = handles.raw(handles.open_once(name, say), name)
    shown = handles.shown(name)
    head = raw.peek(_MAGIC)
    if form is InputFormat.PARQUET or is_parquet(head):
        reason = "its end is read first, and this can be read only once; write it to a file, and submit that"
        raise NotReadable(path=shown, kind="Parquet", reason=reason)
    demand_text(head, shown)
    return Input(name, form, reading, handles.text(raw, name, reading.encoding))


def _repeatable(name: str, reading: Reading) -> Input:
    """Find a file, a directory or a glob."""
    form = reading.format
    if form is None and (os.path.isdir(name) or files.is_glob(name)):  # noqa: PTH112 (False for a name that is too long)
        form = InputFormat.FILES
    if form is InputFormat.FILES:
        if not files.list_files(name):
            raise NoSuchFile(path=name, fix="name a directory that holds files, or a pattern that fits some")
        return Input(name, form, reading)
    with handles.opened(Path(name)) as raw:
        head = raw.peek(_MAGIC)
        if form is None:
            form = InputFormat.PARQUET if is_parquet(head) else by_name(name)
        if form is not InputFormat.PARQUET:
            demand_text(head, handles.shown(name))
        if form is None:
            form = sniff(handles.text(raw, name, reading.encoding))
    return Input(name, form, reading)


def _demand_sense(given: Input) -> None:
    """Refuse options that would be ignored. Raises UsageError."""
    reading, what = given.reading, f"not for {given.shown} ({given.format.value})"
    if reading.inline and given.format is not InputFormat.FILES:
        raise UsageError(what=f"--inline is for a directory or a pattern, {what}", fix="leave it out")
    if reading.encoding is not None and not given.is_text:
        raise UsageError(what=f"--encoding is for text, {what}", fix="leave it out")
    if reading.delimiter is not None and not given.is_table:
        raise UsageError(what=f"--delimiter is for tables, {what}", fix="leave it out, or add --format csv")


def reading_of(
    form: InputFormat | None, *, inline: bool = False, encoding: str | None = None, delimiter: str | None = None
) -> Reading:
    """Return the Reading that the options ask for. Raises UsageError for an unknown encoding or delimiter."""
    named = None if encoding is None else encodings.find(encoding)
    return Reading(form, inline, named, None if delimiter is None else separators.find(delimiter))
