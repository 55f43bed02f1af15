"""Filing: a task of a job ends in one place for the whole job, and once, however often it ran."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from mlq.protocol import exact_json, keys
from mlq.protocol.names import JOB_HEADER, ROW_ERROR, TOKEN_HEADER
from mlq.protocol.result import Answer

KEPT_S: Final = 7 * 24 * 3600
"""Ends that nobody collects are kept so long after the last one."""

MOST_CHUNKS: Final = 2**24
"""Each has its bit, and a message must not be able to ask for more than 2 MiB of them."""

_LONGEST_S: Final = 1e9
_LONGEST_MODEL: Final = 256
"""Characters of a fingerprint."""

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
    """Where a task's end is filed. `rows`: the answers that it brings; None: one result, whatever it is.

    `token` is what the message shows for it: job_tokens.py tells whether it is the job's.
    """

    job: str
    chunk: int
    rows: int | None
    token: str | None = field(default=None, repr=False)

    @property
    def header(self) -> list[Any]:
        """What a message says of it."""
        return [self.job, self.chunk, self.rows]


@dataclass(frozen=True)
class ChunkResult:
    """How a chunk ended: Celery's state, and an answer for each row as JSON.

    `failed` counts the rows without an answer. `seconds` is what its forwards took, `model` the fingerprint of what
    answered; None where they are not known.
    `failure` is Celery's record of the exception, if it failed.
    """

    status: str
    results: Sequence[bytes] = ()
    failure: Mapping[str, Any] | None = None
    seconds: float | None = None
    model: str | None = None
    failed: int = 0


def is_job_id(text: str) -> bool:
    """Tell whether a text may name a job: 1 to 64 letters, digits or . _ -"""
    return _ID.match(text) is not None


def place_of(headers: Mapping[str, Any]) -> JobChunkRef | None:
    """Read where a message's end belongs; None if it is of no job. Raises ValueError for anything that is no place."""
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


def end_of(
    place: JobChunkRef, status: str, result: Any, *, seconds: float | None = None, model: str | None = None
) -> ChunkResult:
    """Make a chunk's end of what Celery would store of its task."""
    if status != "SUCCESS":
        return ChunkResult(status, failure=result if isinstance(result, dict) else {}, seconds=seconds, model=model)
    answers = [result] if place.rows is None else result if isinstance(result, list) else []
    return ChunkResult(status, [_json(a) for a in answers], seconds=seconds, model=model)


def answer_of(place: JobChunkRef, end: ChunkResult, db: int | None = None) -> Answer:
    """Say where an end goes. Lines: what happened, then an answer for each row."""
    expected = 1 if place.rows is None else place.rows
    is_usable = end.status == "SUCCESS" and len(end.results) == expected
    failed = sum(r.startswith(_FAILED) for r in end.results) if is_usable else expected
    about = {"status": end.status, "failure": end.failure, "seconds": end.seconds, "model": end.model, "failed": failed}
    payload = b"\n".join([exact_json.dumps(about), *end.results])
    return Answer(keys.ends(place.job), payload, KEPT_S, db, f"{place.chunk} {expected - failed} {failed}")


def read(payload: bytes) -> ChunkResult:
    """Read what `answer_of` wrote, perhaps in another version; what is no end at all is the end of a chunk that failed.

    Of fields that only guide the sender (`seconds`, `model`) a value that cannot be is left out.
    """
    about, *results = payload.split(b"\n")
    try:
        found = exact_json.loads_rounded(about)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("status"), str):
        return unreadable("what the worker has stored is not an answer of mlq's")
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
    """Make the end of a task whose stored answer cannot be read."""
    return ChunkResult("FAILURE", failure={"exc_type": "BadAnswer", "exc_message": [why]})


def _seconds(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= _LONGEST_S else None


def is_failed(result: bytes) -> bool:
    """Tell the answer of a row that failed."""
    return result.startswith(_FAILED)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_CHUNKS


def _json(value: Any) -> bytes:
    """Write one answer on one line; what orjson does not write (huge numbers, half characters) Celery's writer does.

    An answer with NaN becomes the error of its row: orjson would write null, Celery's writer what is no JSON.
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
