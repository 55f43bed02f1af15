"""Names in messages and results that other Celery clients see: they only grow."""

from __future__ import annotations

from typing import Any, Final, Literal

Controls = Literal["inspect", "all", "none"]
"""Which of Celery's control messages are obeyed, see mlq/protocol/control_policy.py."""

PREDICT: Final = "mlq.predict"
"""One row in, its answer out."""

BATCH_PREDICT: Final = "mlq.batch_predict"
"""A list of rows in, a list of answers out."""

RETRIES: Final = {PREDICT: 2, BATCH_PREDICT: 1}
"""How often each is tried again when the failure can pass."""

ROW_ERROR: Final = "mlq.error"
"""The one key of an element of mlq.batch_predict's result that stands for a row that failed."""

PACKED_ROWS: Final = "mlq.rows"
"""The one key of an object that stands for a list of rows of numbers: {"dtype", "shape", "data": base64}."""

SENT_AT_HEADER: Final = "mlq_sent_at"
"""Seconds since 1970, in the headers of every message that mlq sends."""

STAMP: Final = "mlq.stamp"
"""Names the receiver of Celery's signal that writes that header."""

ROWS_HEADER: Final = "mlq_rows"
"""How many rows a message of ours brings: the claim script finds it without decoding. Absent means one."""

JOB_HEADER: Final = "mlq_job"
"""[job, chunk, rows]: the task's end is filed under that job, and nowhere else. Rows are the answers that it brings;
null: one result, whatever it is."""

TOKEN_HEADER: Final = "mlq_job_token"  # noqa: S105 (the name of a header)
"""The token of that job, which its record holds (see store/jobs/job_tokens.py). Older versions send and read none."""

BARE_QUEUE: Final = "celery"
"""Where a Celery client publishes that names no queue. Workers serve it last, as an alias of default."""

LONGEST_ID_BYTES: Final = 512
"""Of a task id as UTF-8. What is in it does not matter: it is escaped wherever it is shown, and the one Redis key
that is made of it, celery-task-meta-<id>, may hold any bytes."""


def is_task_id(value: Any) -> bool:
    """Tell whether a task of this id could be run: a text of 1 to 512 bytes."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID_BYTES:
        return False
    try:
        return value.isascii() or len(value.encode()) <= LONGEST_ID_BYTES
    except UnicodeEncodeError:
        return False


def row_error(error: Exception, *, retryable: bool, attempts: int) -> dict[str, Any]:
    """Write the element that stands for a failed row."""
    about = {"type": type(error).__name__, "message": str(error), "retryable": retryable, "attempts": attempts}
    return {ROW_ERROR: about}
