"""Output: one JSON line a row, written as it grows, into a file by one process at a time, or into a stream."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from mlq.errors import MlqError, NoSuchFile
from mlq.ipc.file_lock import try_lock
from mlq.jobs.collect.output_lines import Written
from mlq.jobs.errors import NotAnOutput, OutputBusy, OutputExists, OutputFailed, OutputIsInput
from mlq.jobs.input import handles
from mlq.jobs.input.handles import Say

_NOT_WRITTEN: Final = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".parquet": "Parquet",
    ".xlsx": "a spreadsheet",
    ".arrow": "Arrow",
    ".gz": "gzip",
    ".zst": "zstd",
    ".bz2": "bzip2",
    ".xz": "xz",
    ".zip": "zip",
}
"""Suffixes of what an output is not. A name that lies about its content is found out much later, and elsewhere."""

_STDOUT: Final = 1
_SAY_AFTER_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.1
_NO_PLACE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)


class Output:
    """Lines into a stream. `ok` and `failed` count rows, those of an earlier process included.

    `path` is the file that is written, None for a stream; `command` goes on when it cannot be written.
    """

    def __init__(
        self, stream: BinaryIO, ok: int = 0, failed: int = 0, *, path: Path | None = None, command: str = ""
    ) -> None:
        self._stream = stream
        self._path = path
        self._command = command
        self.ok = ok
        self.failed = failed

    @property
    def done(self) -> int:
        """Rows that have their line."""
        return self.ok + self.failed

    def add(self, written: Written) -> None:
        """Write the lines of a chunk. Raises OutputFailed; BrokenPipeError where stdout's reader has left."""
        with writing(self._shown, self._command):
            self._stream.write(written.lines)
        self.ok += written.ok
        self.failed += len(written.failed)

    def flush(self) -> None:
        """Give all of it to the system, where it outlives this process. Raises as `add` does."""
        with writing(self._shown, self._command):
            self._stream.flush()
            # What is written to a file without a name is lost when this process ends.
            if self._path is not None and os.fstat(self._stream.fileno()).st_nlink == 0:
                raise OSError(errno.ENOENT, "the file was removed while it was written")

    @property
    def _shown(self) -> str:
        return handles.shown(str(self._path or self._stream.name))


@contextmanager
def writing(shown: str, command: str) -> Iterator[None]:
    """Turn what the system refuses meanwhile into OutputFailed, which names the command that goes on.

    BrokenPipeError of standard output is raised as it is: its reader has what it wanted.
    """
    try:
        yield
    except OSError as exc:
        if isinstance(exc, BrokenPipeError) and shown == "<stdout>":
            raise
        raise failed(shown, exc, command) from None


def failed(shown: str, exc: OSError, command: str) -> OutputFailed:
    """Make the error of an output that the system does not take."""
    reason = exc.strerror or str(exc)
    where = "standard output" if shown == "<stdout>" else shown
    return OutputFailed(path=where, reason=reason[:1].lower() + reason[1:], command=command)


def not_opened(path: Path, exc: OSError | ValueError, command: str = "mlq submit") -> MlqError:
    """Make the error of an output that cannot be begun: there is no such place, or no room there."""
    shown = handles.shown(str(path))
    if isinstance(exc, OSError) and not isinstance(exc, _NO_PLACE) and exc.errno != errno.ENAMETOOLONG:
        return failed(shown, exc, command)
    reason = exc.strerror if isinstance(exc, OSError) else exc
    return NoSuchFile(path=f"{shown} ({reason})", fix="name an output file in a directory that exists")


def target(path: Path | None) -> Path | None:
    """Return where answers go; None is standard output, under any of its names. Raises NotAnOutput."""
    if path is None or str(path) == handles.STANDARD_INPUT or handles.descriptor(str(path)) == _STDOUT:
        return None
    kind = _NOT_WRITTEN.get(path.suffix.lower())
    if kind is not None and kept(path) is not None:
        raise NotAnOutput(path=handles.shown(str(path)), kind=kind)
    return path


def kept(path: Path | None) -> Path | None:
    """Return an output that stays, and can be gone on with: a file. None for a stream, which takes what it gets."""
    if path is None or handles.descriptor(str(path)) is not None:
        return None
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # there is none yet
        return path
    return path if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else None


def demand_new(path: Path, source: Path | None, or_else: type[MlqError] = OutputExists) -> None:
    """Check that an output may be made. Raises OutputIsInput, `or_else`, NoSuchFile for its directory."""
    demand_apart(path, source)
    if os.path.lexists(path):
        raise or_else(path=handles.shown(str(path)))
    if not os.path.isdir(path.absolute().parent):  # noqa: PTH112 (False, not an error, for a name that is too long)
        raise NoSuchFile(path=path.parent, fix="name an output file in a directory that exists")


def demand_apart(path: Path, source: Path | None) -> None:
    """Check that the output is not the input, under whatever name. Raises OutputIsInput."""
    with contextlib.suppress(OSError, ValueError):
        if source is not None and path.samefile(source):
            raise OutputIsInput(path=handles.shown(str(path)))


@contextmanager
def appended(path: Path, locked: Callable[[], None]) -> Iterator[BinaryIO]:
    """Open an output to write at its end, while nobody else does; `locked` is called once that is sure.

    Raises OutputBusy, NoSuchFile where its directory is missing or closed to us, OutputFailed.
    """
    try:
        stream = path.open("ab")
    except (OSError, ValueError) as exc:
        raise not_opened(path, exc) from None
    with _closed(stream, path):
        if not try_lock(stream):
            raise OutputBusy(path=handles.shown(str(path)))
        locked()
        yield stream


@contextmanager
def streamed(path: Path, say: Say) -> Iterator[BinaryIO]:
    """Open an output that is a descriptor, a named pipe or a device. Raises NoSuchFile, OutputFailed."""
    try:
        number = handles.descriptor(str(path))
        if number is not None:
            number = os.dup(number)
        elif path.is_fifo():
            number = _open_pipe(path, say)
        else:
            number = os.open(path, os.O_WRONLY)
        stream = open(path, "wb", opener=lambda *_: number)  # noqa: SIM115 (named after the path; closed below)
    except OSError as exc:
        raise not_opened(path, exc) from None
    with _closed(stream, path):
        yield stream


@contextmanager
def _closed(stream: BinaryIO, path: Path) -> Iterator[None]:
    """Close a stream at the end. What it cannot write then is an error, unless there is one already."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            stream.close()
        raise
    with writing(handles.shown(str(path)), "mlq submit"):
        stream.close()


def _open_pipe(path: Path, say: Say) -> int:
    """Open a named pipe once a process reads it. An ordinary open would block without a word."""
    say_at = time.monotonic() + _SAY_AFTER_S
    while True:
        try:
            number = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as exc:
            if exc.errno != errno.ENXIO:
                raise
        else:
            os.set_blocking(number, True)
            return number
        if time.monotonic() >= say_at:
            say(f"waiting for a process that reads the named pipe {handles.shown(str(path))} (Ctrl-C ends the wait)")
            say_at = float("inf")
        time.sleep(_LOOK_EVERY_S)
