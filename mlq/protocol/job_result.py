"""Job results: how the result of a job's chunk is written and read. It is stored once, however often the chunk ran."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from mlq.protocol import json_text, keys
from mlq.protocol.names import JOB_HEADER, ROW_ERROR, TOKEN_HEADER
from mlq.protocol.result import Answer

KEPT_S: Final = 7 * 24 * 3600
"""Seconds to keep the results of a job that are not collected, from the last result on."""

MOST_CHUNKS: Final = 2**24
"""Chunks of one job. Each has a bit in Redis, so a message can make the server allocate 2 MiB at most."""

_LONGEST_S: Final = 1e9
_LONGEST_MODEL: Final = 256
"""Most characters of a model's fingerprint; a longer one is read as None."""

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_PARTS: Final = 3
_FAILED: Final = orjson.dumps({ROW_ERROR: 0})[:-2]
_NOT_FINITE: Final = orjson.dumps(
    {
        ROW_ERROR: {
            "type": "NotFinite",
            "message": "the answer holds NaN or Infinity, which JSON cannot carry",
            "retryable": False,
            "attempts": 1,
        }
    }
)


@dataclass(frozen=True)
class JobChunkRef:
    """The job and the chunk to which a message belongs."""

    job: str
    chunk: int
    rows: int | None
    """Number of rows in the chunk; None if the task returns one result of any kind."""

    token: str | None = field(default=None, repr=False)
    """The job's token as the message carries it; store/jobs/job_tokens.py checks it."""

    @property
    def header(self) -> list[Any]:
        """The value of the message header JOB_HEADER."""
        return [self.job, self.chunk, self.rows]


@dataclass(frozen=True)
class ChunkResult:
    """The result of a chunk."""

    status: str
    """Celery's state of the task."""

    results: Sequence[bytes] = ()
    """The result of each row, as JSON on one line."""

    failure: Mapping[str, Any] | None = None
    """Celery's record of the exception, if the task failed."""

    seconds: float | None = None
    """Seconds in the model's forward calls; None if unknown."""

    model: str | None = None
    """Fingerprint of the model; None if unknown."""

    failed: int = 0
    """Number of rows that failed."""


def is_job_id(text: str) -> bool:
    """Return True if a text can be the id of a job: 1 to 64 letters, digits or . _ -"""
    return _ID.match(text) is not None


def job_chunk_of(headers: Mapping[str, Any]) -> JobChunkRef | None:
    """Return the job and chunk in a message's headers; None without a job. Raises ValueError if they are invalid."""
    said = headers.get(JOB_HEADER)
    if said is None:
        return None
    if isinstance(said, list) and len(said) == _PARTS:
        job, chunk, rows = said
        if isinstance(job, str) and is_job_id(job) and _is_count(chunk) and (rows is None or _is_count(rows)):
            token = headers.get(TOKEN_HEADER)
            return JobChunkRef(job, chunk, rows, token if isinstance(token, str) and token.isascii() else None)
    message = f"{JOB_HEADER} is not [job, chunk, rows]"
    raise ValueError(message)


def chunk_result(
    place: JobChunkRef, status: str, result: Any, *, seconds: float | None = None, model: str | None = None
) -> ChunkResult:
    """Return a chunk's result, given the state and the value that Celery would store for its task."""
    if status != "SUCCESS":
        return ChunkResult(status, failure=result if isinstance(result, dict) else {}, seconds=seconds, model=model)
    answers = [result] if place.rows is None else result if isinstance(result, list) else []
    return ChunkResult(status, [_json(a) for a in answers], seconds=seconds, model=model)


def answer_of(place: JobChunkRef, end: ChunkResult, db: int | None = None) -> Answer:
    """Return a chunk's result as it is stored: one line about the chunk, then one line for each row."""
    expected = 1 if place.rows is None else place.rows
    is_usable = end.status == "SUCCESS" and len(end.results) == expected
    failed = sum(r.startswith(_FAILED) for r in end.results) if is_usable else expected
    about = {"status": end.status, "failure": end.failure, "seconds": end.seconds, "model": end.model, "failed": failed}
    payload = b"\n".join([json_text.dumps(about), *end.results])
    return Answer(keys.ends(place.job), payload, KEPT_S, db, f"{place.chunk} {expected - failed} {failed}")


def read(payload: bytes) -> ChunkResult:
    """Read a result that `answer_of` wrote, perhaps in another version of mlq.

    An unreadable result is returned as a ChunkResult with the status FAILURE. An invalid `seconds` or `model` is read
    as None, because the output can be written without them.
    """
    about, *results = payload.split(b"\n")
    try:
        found = json_text.loads_rounded(about)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("status"), str):
        return unreadable("the stored result is not in the format of mlq")
    failure, model, failed = found.get("failure"), found.get("model"), found.get("failed")
    return ChunkResult(
        found["status"],
        results,
        failure if isinstance(failure, dict) else None,
        _seconds(found.get("seconds")),
        model if isinstance(model, str) and len(model) <= _LONGEST_MODEL else None,
        failed if type(failed) is int else 0,
    )


def unreadable(why: str) -> ChunkResult:
    """Return the result of a task whose stored result cannot be read."""
    return ChunkResult("FAILURE", failure={"exc_type": "BadAnswer", "exc_message": [why]})


def _seconds(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= _LONGEST_S else None


def is_failed(result: bytes) -> bool:
    """Return True if this is the result of a row that failed."""
    return result.startswith(_FAILED)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_CHUNKS


def _json(value: Any) -> bytes:
    """Encode one result on one line; kombu's JSON encoder takes what orjson refuses (large integers, lone surrogates).

    A result with NaN becomes the error of its row: orjson would write null, and kombu's encoder invalid JSON.
    """
    try:
        written = orjson.dumps(value)
    except TypeError:
        from kombu.utils.json import dumps

        written = dumps(value).encode()
    suspect = any(word in written for word in (b"null", b"NaN", b"Infinity"))
    return _NOT_FINITE if suspect and not _is_finite(value) else written


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return all(map(_is_finite, value)) if isinstance(value, (list, tuple)) else True
