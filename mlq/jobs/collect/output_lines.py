"""Output lines: converts a chunk and its result to lines of the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from mlq.jobs.chunk import Chunk
from mlq.jobs.row import RowError
from mlq.protocol import json_text
from mlq.protocol.job_result import ChunkResult, is_failed
from mlq.protocol.names import BATCH_PREDICT, PREDICT, RETRIES, ROW_ERROR

_MOST_ATTEMPTS: Final = 2**31

PASSING: Final = frozenset({"ConnectionError", "ConnectionResetError", "TimeoutError", "OutOfMemoryError"})
"""Names of failures after which the same row may well succeed."""


@dataclass(frozen=True)
class Written:
    """The lines of a chunk: how many rows were answered, and which were not."""

    lines: bytes
    ok: int
    failed: Sequence[int]


def write(chunk: Chunk, end: ChunkResult, *, single: bool, leave_out: frozenset[int] = frozenset()) -> Written:
    """Write a line for each row; `leave_out` are indexes of rows that have theirs.

    An answer of the wrong length is an error of every row, which names both lengths.
    """
    error = _whole_error(chunk, end, single=single)
    if error is None and not end.failed and not chunk.errors and not leave_out:
        return Written(_all_ok(chunk, end.results), len(chunk), ())
    left = iter(end.results)
    lines, failed = [], []
    for place, index in enumerate(chunk.indexes):
        known = chunk.errors.get(place)
        result = next(left) if known is None and error is None else b""
        known = known or error or (_row_error(result) if is_failed(result) else None)
        if index in leave_out:
            continue
        about = {"id": chunk.ids[place], "index": index}
        if known is None:
            lines.append(b'%b,"status":"ok","result":%b}\n' % (json_text.dumps_strict(about)[:-1], result))
        else:
            failed.append(index)
            lines.append(json_text.dumps({**about, "status": "error", "error": asdict(known)}) + b"\n")
    return Written(b"".join(lines), len(lines) - len(failed), failed)


def error_of(status: str, failure: Mapping[str, Any], *, single: bool) -> RowError:
    """Make a row's error of a task that failed as a whole."""
    if status == "REVOKED":
        return RowError("Cancelled", "the job was cancelled before this row was run", retryable=True)
    kind = _text(failure.get("exc_type") or status)
    said = failure.get("exc_message", "")
    message = "; ".join(map(_text, said)) if isinstance(said, (list, tuple)) else _text(said)
    passing = kind in PASSING
    tries = 1 + RETRIES[PREDICT if single else BATCH_PREDICT]
    return RowError(kind, message, retryable=passing, attempts=tries if passing else 1)


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
    """Read the element that stands for a failed row; what is missing or of another type has a plain value."""
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
    """Return a text; of what was stored in the place of one, its JSON."""
    if isinstance(value, str):
        return value
    try:
        return json_text.dumps(value).decode()
    except (TypeError, ValueError, RecursionError):
        return "?"
