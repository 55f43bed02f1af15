"""Names in messages and results that other Celery clients see: names may be added, never changed or removed."""

from __future__ import annotations

from typing import Any, Final, Literal

Controls = Literal["inspect", "all", "none"]
"""Which of Celery's control messages are obeyed, see mlq/protocol/control_policy.py."""

PREDICT: Final = "mlq.predict"
"""One row in, its answer out."""

BATCH_PREDICT: Final = "mlq.batch_predict"
"""A list of rows in, a list of answers out."""

RETRIES: Final = {PREDICT: 2, BATCH_PREDICT: 1}
"""Number of retries for each task after a failure that may be temporary."""

ROW_ERROR: Final = "mlq.error"
"""The one key of an element of mlq.batch_predict's result that stands for a row that failed."""

PACKED_ROWS: Final = "mlq.rows"
"""The one key of an object that stands for a list of rows of numbers: {"dtype", "shape", "data": base64}."""

SENT_AT_HEADER: Final = "mlq_sent_at"
"""Seconds since 1970, in the headers of every message that mlq sends."""

STAMP: Final = "mlq.stamp"
"""Name of the signal receiver in Celery that writes that header."""

ROWS_HEADER: Final = "mlq_rows"
"""Number of rows in a message that mlq sends; the claim script finds it without decoding. Absent means one."""

JOB_HEADER: Final = "mlq_job"
"""[job, chunk, rows]: the task's result is stored with that job, and nowhere else. Rows is the number of results; null
means one result of any kind."""

TOKEN_HEADER: Final = "mlq_job_token"  # noqa: S105 (the name of a header)
"""The token in that job's record (see store/jobs/job_tokens.py). Older versions of mlq neither send nor read one."""

BARE_QUEUE: Final = "celery"
"""The queue of Celery clients that do not name one. Workers serve it last, as an alias of default."""

LONGEST_ID_BYTES: Final = 512
"""Bytes of a task id in UTF-8. Its characters are not restricted: it is escaped wherever it is shown, and the one Redis
key with the id in its name, celery-task-meta-<id>, may contain any bytes."""


def is_task_id(value: Any) -> bool:
    """Return True if a value is a valid task id: a text of 1 to 512 bytes."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID_BYTES:
        return False
    try:
        return value.isascii() or len(value.encode()) <= LONGEST_ID_BYTES
    except UnicodeEncodeError:
        return False


def row_error(error: Exception, *, retryable: bool, attempts: int) -> dict[str, Any]:
    """Return the element that stands for a failed row in a list of results."""
    about = {"type": type(error).__name__, "message": str(error), "retryable": retryable, "attempts": attempts}
    return {ROW_ERROR: about}
