"""Handles: from the name of an input to an open stream: a file, a descriptor, a named pipe; unpacked, as UTF-8."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import select
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from mlq.errors import NoSuchFile
from mlq.jobs.errors import NotReadable, ReadFailed
from mlq.jobs.input import encodings
from mlq.jobs.input.stream import Stream

STANDARD_INPUT: Final = "-"

_GZIP: Final = b"\x1f\x8b"
_UNPACKING: Final = (gzip.BadGzipFile, EOFError, zlib.error)
_SAY_AFTER_MS: Final = 1000
_DESCRIPTOR: Final = re.compile(r"/(?:dev|proc/self)/fd/(\d{1,9})\Z")
_STANDARD: Final = {STANDARD_INPUT: 0, "/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_MADE_WHEN_READ: Final = ("/proc/", "/sys/")
"""The kernel writes these files anew for each reader."""

Say = Callable[[str], None]


def descriptor(name: str) -> int | None:
    """Return the descriptor that a name stands for: `-`, /dev/stdin, /dev/fd/63; None for any other name."""
    found = _DESCRIPTOR.match(name)
    return int(found[1]) if found else _STANDARD.get(name)


def is_once(name: str) -> bool:
    """Return True for an input that can be read once: a descriptor, pipe, socket, device, or file of the kernel."""
    if descriptor(name) is not None:
        return True
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116 (a Path would make "." of "")
    except (OSError, ValueError):
        return False
    if stat.S_ISREG(mode):
        return os.path.realpath(name).startswith(_MADE_WHEN_READ)
    return not stat.S_ISDIR(mode)


def shown(name: str) -> str:
    """Return a name as text that UTF-8 can hold, since file names are bytes."""
    return "standard input" if name == STANDARD_INPUT else os.fsencode(name).decode("utf-8", "backslashreplace")


def open_once(name: str, say: Say) -> BinaryIO:
    """Open an input that can be read once. Waits for the writer of a named pipe, and says so. Raises NoSuchFile."""
    number = descriptor(name)
    try:
        if number is not None:
            return os.fdopen(os.dup(number), "rb")
        if stat.S_ISFIFO(os.stat(name).st_mode):  # noqa: PTH116 (see is_once)
            return _open_pipe(name, say)
        return Path(name).open("rb")
    except OSError as exc:
        raise _not_opened(name, exc) from None


def _open_pipe(name: str, say: Say) -> BinaryIO:
    """Open a named pipe once a process writes to it.

    An ordinary open blocks silently until then. A pipe that is opened without blocking shows neither data nor a
    hang-up before its first writer has come, so nothing is missed between the open and the first poll.
    """
    number = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    pipe = os.fdopen(number, "rb")
    try:
        written = select.poll()
        written.register(number, select.POLLIN | select.POLLHUP)
        if not written.poll(_SAY_AFTER_MS):
            say(f"waiting for a process that writes to the named pipe {shown(name)} (Ctrl-C ends the wait)")
            written.poll()
        os.set_blocking(number, True)
    except BaseException:
        pipe.close()
        raise
    return pipe


@contextmanager
def opened(path: Path, digest: hashlib.blake2b | None = None) -> Iterator[Stream]:
    """Open a file; `digest` is updated with the bytes that are read. Raises NoSuchFile, ReadFailed."""
    try:
        file = path.open("rb", buffering=0)
    except (OSError, ValueError) as exc:
        raise _not_opened(str(path), exc) from None
    with file:
        yield raw(cast("BinaryIO", file), str(path), digest)


def raw(file: BinaryIO, name: str, digest: hashlib.blake2b | None = None) -> Stream:
    """Return a stream of an open file. Its errors name the file."""

    def read(size: int) -> bytes:
        try:
            block = file.read(size)
        except OSError as exc:
            raise ReadFailed(path=shown(name), reason=exc.strerror) from None
        if digest is not None:
            digest.update(block)
        return block

    return Stream(read)


def text(stream: Stream, name: str, encoding: str | None) -> Stream:
    """Decompress a stream if it is compressed, and read it as UTF-8 without a byte-order mark.

    Raises NotReadable for a truncated archive, NotText for bytes that do not fit the encoding.
    """
    return encodings.as_utf8(_unpacked(stream, name), shown(name), encoding)


def _unpacked(stream: Stream, name: str) -> Stream:
    if stream.peek(len(_GZIP)) != _GZIP:
        return stream
    packed = gzip.GzipFile(fileobj=cast("Any", stream), mode="rb")

    def read(size: int) -> bytes:
        try:
            return packed.read(size)
        except _UNPACKING as exc:
            raise NotReadable(path=shown(name), kind="gzip", reason=exc) from None

    return Stream(read)


def _not_opened(name: str, exc: OSError | ValueError) -> NoSuchFile:
    if isinstance(exc, FileNotFoundError):
        return NoSuchFile(path=shown(name), fix="check the path; `-` reads JSON Lines from standard input")
    reason = exc.strerror if isinstance(exc, OSError) else exc
    return NoSuchFile(path=f"{shown(name)} ({reason})", fix="name a file that can be read")
