"""Output: a JSON line for each row, appended to a file by one process at a time, or written to a stream."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Final

from mlq.errors import MlqError, NoSuchFile
from mlq.ipc.file_lock import try_lock
from mlq.jobs.chunk import Chunk
from mlq.jobs.errors import NotAnOutput, OutputBusy, OutputExists, OutputFailed, OutputIsInput
from mlq.jobs.input import handles
from mlq.jobs.input.handles import Say
from mlq.jobs.row import RowError
from mlq.protocol import json_text
from mlq.protocol.job_result import ChunkResult, is_failed
from mlq.protocol.names import BATCH_PREDICT, PREDICT, RETRIES, ROW_ERROR

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
"""Suffixes of formats that an output is not. The error would otherwise show up in the program that reads the file."""

_MOST_ATTEMPTS: Final = 2**31

TRANSIENT: Final = frozenset({"ConnectionError", "ConnectionResetError", "TimeoutError", "OutOfMemoryError"})
"""Names of exceptions after which the same row may well succeed."""

_STDOUT: Final = 1
_SAY_AFTER_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.1
_NO_PLACE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)


class Output:
    """Writes lines to a stream.

    Args:
        stream: A binary stream.
        ok: Rows that an earlier run answered.
        failed: Rows that failed in an earlier run.
        path: The file behind the stream; None for a pipe or a terminal.
        command: The command that continues the job, for the error of a failed write.

    Attributes:
        ok: Rows that were answered, those of earlier runs included.
        failed: Rows that failed, those of earlier runs included.
    """

    def __init__(
        self, stream: BinaryIO, ok: int = 0, failed: int = 0, *, path: Path | None = None, command: str = ""
    ) -> None:
        self._stream = stream
        self._path = path
        self._shown = handles.shown(str(path or stream.name))
        self._command = command
        self.ok = ok
        self.failed = failed

    @property
    def done(self) -> int:
        """Rows that have a line."""
        return self.ok + self.failed

    def add(
        self, chunk: Chunk, result: ChunkResult, *, single: bool, leave_out: frozenset[int] = frozenset()
    ) -> Sequence[int]:
        """Write a line for each row of a chunk, and return the indexes of rows that failed.

        Args:
            chunk: The rows.
            result: Their result.
            single: The task was mlq.predict.
            leave_out: Indexes of rows of this chunk that have a line already.

        Raises OutputFailed; BrokenPipeError if the reader of standard output has closed it.
        """
        lines, failed = lines_of(chunk, result, single=single, leave_out=leave_out)
        with writing(self._shown, self._command):
            self._stream.write(lines)
        self.ok += len(chunk) - len(leave_out) - len(failed)
        self.failed += len(failed)
        return failed

    def flush(self) -> None:
        """Hand all lines to the system, so that they outlive this process. Raises as `add` does."""
        with writing(self._shown, self._command):
            self._stream.flush()
            # A file without a name is deleted when this process ends.
            if self._path is not None and os.fstat(self._stream.fileno()).st_nlink == 0:
                raise OSError(errno.ENOENT, "the file was removed while it was written")


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
    """Check that the output is not the input, also not under another name. Raises OutputIsInput."""
    with contextlib.suppress(OSError, ValueError):
        if source is not None and path.samefile(source):
            raise OutputIsInput(path=handles.shown(str(path)))


@contextmanager
def appended(path: Path, locked: Callable[[], None]) -> Iterator[BinaryIO]:
    """Open an output to append to it, and lock it; `locked` is called once no other process can write to it.

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


def lines_of(
    chunk: Chunk, result: ChunkResult, *, single: bool, leave_out: frozenset[int] = frozenset()
) -> tuple[bytes, Sequence[int]]:
    """Return the lines of a chunk's rows, and the indexes of rows that failed. The arguments are those of Output.add.

    If the number of results is not the number of rows, each row fails, with an error that names both numbers.
    """
    error = _whole_error(chunk, result, single=single)
    if error is None and not result.failed and not chunk.errors and not leave_out:
        return _all_ok(chunk, result.results), ()
    left = iter(result.results)
    lines, failed = [], []
    for place, index in enumerate(chunk.indexes):
        known = chunk.errors.get(place)
        answer = next(left) if known is None and error is None else b""
        known = known or error or (_row_error(answer) if is_failed(answer) else None)
        if index in leave_out:
            continue
        about = {"id": chunk.ids[place], "index": index}
        if known is None:
            lines.append(b'%b,"status":"ok","result":%b}\n' % (json_text.dumps_strict(about)[:-1], answer))
        else:
            failed.append(index)
            lines.append(json_text.dumps({**about, "status": "error", "error": asdict(known)}) + b"\n")
    return b"".join(lines), failed


def error_of(status: str, failure: Mapping[str, Any], *, single: bool) -> RowError:
    """Return the error of each row of a task that failed as a whole."""
    if status == "REVOKED":
        return RowError("Cancelled", "the job was cancelled before this row was run", retryable=True)
    kind = _text(failure.get("exc_type") or status)
    said = failure.get("exc_message", "")
    message = "; ".join(map(_text, said)) if isinstance(said, (list, tuple)) else _text(said)
    is_transient = kind in TRANSIENT
    tries = 1 + RETRIES[PREDICT if single else BATCH_PREDICT]
    return RowError(kind, message, retryable=is_transient, attempts=tries if is_transient else 1)


def _whole_error(chunk: Chunk, end: ChunkResult, *, single: bool) -> RowError | None:
    if not chunk.sent:
        return None
    if end.status != "SUCCESS":
        return error_of(end.status, end.failure or {}, single=single)
    if len(end.results) != chunk.sent:
        return RowError("BadAnswer", f"the worker answered {len(end.results)} rows to {chunk.sent}")
    return None


def _all_ok(chunk: Chunk, results: Sequence[bytes]) -> bytes:
    if chunk.ids is chunk.indexes:
        lines = [
            b'{"id":%d,"index":%d,"status":"ok","result":%b}\n' % (i, i, r)
            for i, r in zip(chunk.indexes, results, strict=True)
        ]
    else:
        lines = [
            b'{"id":%b,"index":%d,"status":"ok","result":%b}\n' % (json_text.dumps_strict(row_id), i, r)
            for row_id, i, r in zip(chunk.ids, chunk.indexes, results, strict=True)
        ]
    return b"".join(lines)


def _row_error(result: bytes) -> RowError:
    """Read the element that stands for a failed row; a field that is missing or of another type gets a default."""
    try:
        said = json_text.loads_rounded(result)[ROW_ERROR]
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return RowError("BadAnswer", "what the worker answered to this row is neither an answer nor an error")
    attempts = said.get("attempts")
    if type(attempts) is not int or not 0 <= attempts < _MOST_ATTEMPTS:
        attempts = 1
    return RowError(_text(said.get("type")), _text(said.get("message")), said.get("retryable") is True, attempts)


def _text(value: Any) -> str:
    """Return a text as it is, and any other value as JSON."""
    if isinstance(value, str):
        return value
    try:
        return json_text.dumps(value).decode()
    except (TypeError, ValueError, RecursionError):
        return "?"
